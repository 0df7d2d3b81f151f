"""`shoal distil suggest` on a store with kept chats: as a table, as JSON, and without the sentence model."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from shoal.cli import suggest
from shoal.cli.main import app
from shoal.storage.bodies import Body, Chat
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import open_store

runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def fill() -> None:
        store = await open_store(tmp_path / "shoal.db")
        now_ms = int(time.time() * 1000)
        bodies = []
        for at in range(40):
            asked = {"messages": [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": f"Where is card {at}?"}]}
            answered = {
                "choices": [{"message": {"content": "card"}}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 2, "cost": 0.001},
            }
            about = Chat(f"chatcmpl-{at}", True, "gpt-4o", "openai/gpt-4o", "openai", {"task": "intent"})
            texts = (json.dumps(asked).encode(), json.dumps(answered).encode())
            bodies.append(Body(f"req_{at:032x}", "key_a", DEFAULT_PROJECT, "", now_ms - at * 1000, *texts, about))
        await store.bodies.save(bodies)
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path))
    return tmp_path


def test_kinds_are_shown_with_their_cost(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "_load_embedder", lambda settings: SimpleNamespace())  # all have instructions: nothing is embedded
    told = runner.invoke(app, ["distil", "suggest"])
    assert told.exit_code == 0
    assert "40 of 40 requests" in told.stdout
    data = json.loads(runner.invoke(app, ["distil", "suggest", "--json", "--most", "10"]).stdout)
    assert (data["kept"], data["suggestions"][0]["tag"], data["suggestions"][0]["mini_usd"]) == (10, "task=intent", None)


def test_what_is_missing_is_said(home: Path) -> None:
    told = runner.invoke(app, ["distil", "suggest"])
    assert told.exit_code == 1
    assert "shoal pull minnow-embed" in told.stderr
