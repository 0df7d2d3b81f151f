"""A store of its own for every test, and entries to put into it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.core.ledger import Entry
from shoal.storage.store import Store, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "shoal.db")
    yield store
    await store.close()


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., Entry]:
    def make(number: int, **fields: Any) -> Entry:
        values: dict[str, Any] = {
            "request_id": f"req_{number:09d}",
            "at_ms": 1_700_000_000_000 + number,
            "key_id": "key_a",
            "endpoint": "chat",
            "requested_model": "gpt",
            "model": "openai/gpt",
            "provider": "openai",
            "deployment": "openai/gpt",
            "status": 200,
            "stream": False,
            "input_tokens": 10,
            "output_tokens": 3,
            "cost_nano": 7,
            "attempts": 1,
            "receipt": msgspec.Raw(b'{"id":"req","model":"openai/gpt"}'),
        }
        return Entry(**(values | fields))

    return make
