"""Heads, from a real shelf over a real socket: whole and streamed, counted, with logprobs, in turns, and never more than was asked."""

import asyncio
import json
import math
import shutil
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest
from scripted import ScriptedEmbedder, ScriptedEngine, hosting, until

from shoal.mini.card import FILE, Card, Speed, write_card
from shoal.mini.catalogue import find_directory
from shoal.mini.door import MiniDoor
from shoal.mini.heads import Part, Plan, save_head
from shoal.mini.labelled import shape
from shoal.mini.loading import StudentLoader, speed_of
from shoal.mini.residents import Residents
from shoal.mini.served import HeadTurns, ServedChat, ServedEmbedder
from shoal.mini.shelf import Shelf, delete, publish
from shoal.mini.stepper import Stepper

ORG = "org_aaaaaaaaaaaaaaaa"


def make_head(directory, labels=("short", "long")):
    """A head that looks at the scripted vectors' first number, which grows with the text's length."""
    directory.mkdir()
    write_card(directory, Card("x", "head", "head", 32, base="minnow"))
    weights = np.array([[-9.0, 9.0], [0, 0], [0, 0], [0, 0]], dtype=np.float32)
    save_head(directory, Plan("label", labels, parts=(Part("sentence"),)), {"bias": np.array([8.1, -8.1], np.float32), "weights0": weights})
    return directory


class Held(ScriptedEmbedder):
    """A sentence model that may be held back in the middle of a turn."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()

    def embed(self, texts):
        self.busy.set()
        assert self.gate.wait(20)
        return super().embed(texts)


@pytest.fixture
def head(tmp_path):
    """The name of a published head."""
    return publish(tmp_path, make_head(tmp_path / "made"), ORG, "Acme", "length")


@asynccontextmanager
async def serving(home, embedder=None):
    """A client of the mini with the students of `home`, and its door."""
    stepper = Stepper()
    loader = StudentLoader(home, 1, stepper, pytest.fail)
    residents = Residents(Shelf(home), loader, 1 << 30)
    door = MiniDoor(["minnow", "minnow-embed"], residents, lambda student, reading: speed_of(home, student, reading))
    door.open(ServedChat("minnow", ScriptedEngine()))
    served = ServedEmbedder("minnow-embed", embedder or ScriptedEmbedder())
    door.open(served, Speed(500.0, 500.0, 32, 1))
    loader.turns = HeadTurns(served)
    try:
        async with hosting(home, door) as client:
            client.residents = residents
            yield client
    finally:
        await residents.close()
        stepper.close()


def chat(model, text="Hi", **more):
    return {"model": model, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **more}


async def test_whole_streamed_and_by_its_alias(tmp_path, head):
    async with serving(tmp_path) as client:
        status, _, answer = await client.ask("/v1/chat/completions", chat(head, logprobs=True))
        assert status == 200, answer
        choice = answer["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("short", "stop")
        assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == "short"
        assert -0.7 < sum(token["logprob"] for token in tokens) <= 0
        events = await client.stream(
            "/v1/chat/completions", chat(head.removesuffix(":1"), "Hi " * 9, stream_options={"include_usage": True})
        )
        assert events[-1] == "[DONE]"
        assert "".join(choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"]) == "long"
        assert events[-2]["usage"]["completion_tokens"] == 4
        assert events[-3]["choices"][0]["finish_reason"] == "stop"


async def test_it_is_listed_with_its_speed_and_owner(tmp_path, head):
    async with serving(tmp_path) as client:
        _, _, health = await client.ask("/health")
        listed = {model["id"]: model for model in health["models"]}
        assert set(listed) == {"minnow", "minnow-embed", head, head.removesuffix(":1")}
        alias = listed[head.removesuffix(":1")]
        assert (alias["version_of"], alias["kind"], alias["org_id"], alias["prefill_tokens_per_s"]) == (head, "head", ORG, 500.0)
        assert health["loaded"] == [] and health["students_bytes"] == 1 << 30
        await client.ask("/v1/chat/completions", chat(head))
        assert [one["id"] for one in (await client.ask("/health"))[2]["loaded"]] == [head]
        assert head in [model["id"] for model in (await client.ask("/v1/models"))[2]["data"]]
        assert (await client.ask(f"/v1/models/{head}"))[2]["owned_by"] == ORG
        assert (await client.ask("/v1/models/ft:minnow:acme:none"))[0] == 404


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
        ({"n": 99}, "n"),
        ({"stop": [""]}, "stop[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content[0].type"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(tmp_path, head, more, param):
    async with serving(tmp_path) as client:
        status, _, answer = await client.ask("/v1/chat/completions", chat(head) | more)
        assert (status, answer["error"]["param"]) == (400, param)


async def test_what_asks_for_what_is_done_anyway_is_taken(tmp_path, head):
    async with serving(tmp_path) as client:
        more = {"temperature": 0, "seed": 7, "n": 3, "top_p": 0.5, "response_format": {"type": "text"}, "tool_choice": "none"}
        status, headers, answer = await client.ask("/v1/chat/completions", chat(head, **more))
        assert status == 200 and "x-minnow-dropped" not in headers
        assert [choice["message"]["content"] for choice in answer["choices"]] == ["short"] * 3
        assert answer["usage"]["completion_tokens"] == 15
        _, headers, _ = await client.ask("/v1/chat/completions", chat(head, temperature=1.2, presence_penalty=1))
        assert headers["x-minnow-dropped"] == "temperature, presence_penalty"
        _, _, answer = await client.ask("/v1/chat/completions", chat(head, max_tokens=2))
        assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == ("sh", "length")


async def test_a_form_that_its_answers_have_is_no_hindrance(tmp_path):
    labels = ('{"size": "short"}', '{"size": "long"}')
    name = publish(tmp_path, make_head(tmp_path / "made", labels), ORG, "Acme", "sizes")
    async with serving(tmp_path) as client:
        _, _, answer = await client.ask("/v1/chat/completions", chat(name, response_format={"type": "json_object"}))
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"size": "short"}
        schema = {"type": "object", "properties": {"size": {"enum": ["large"]}}}
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        assert (await client.ask("/v1/chat/completions", chat(name, response_format=form)))[0] == 400


async def test_other_endpoints_say_where_to_go(tmp_path, head):
    async with serving(tmp_path) as client:
        for path, body in (("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"})):
            status, _, answer = await client.ask(path, {"model": head, **body})
            assert status in (400, 404), answer
            assert answer["error"]["param"] == "model"


async def test_what_waits_is_answered_in_one_turn(tmp_path, head):
    embedder = Held()
    async with serving(tmp_path, embedder) as client:
        await client.ask("/v1/chat/completions", chat(head))
        embedder.batches.clear()
        embedder.busy.clear()
        embedder.gate.clear()
        first = asyncio.create_task(client.ask("/v1/chat/completions", chat(head)))
        await until(embedder.busy.is_set)
        rest = [asyncio.create_task(client.ask("/v1/chat/completions", chat(head, "Hi" * i))) for i in range(1, 41)]
        turns = client.residents.loaded[0].model._turns
        await until(lambda: len(turns._waiting) == 40)
        embedder.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert {status for status, _, _ in answers} == {200}
        assert embedder.batches == [1, 32, 8]


async def test_a_damaged_head_is_an_error_for_its_callers_alone(tmp_path, head):
    (find_directory(tmp_path, head) / "head.npz").write_bytes(b"damaged")
    good = publish(tmp_path, tmp_path / "made", ORG, "Acme", "good")
    async with serving(tmp_path) as client:
        status, headers, answer = await client.ask("/v1/chat/completions", chat(head))
        assert (status, answer["error"]["code"]) == (503, "overloaded") and "cannot be loaded" in answer["error"]["message"]
        assert headers["retry-after"] == "5"
        assert (await client.ask("/v1/chat/completions", chat(good)))[0] == 200
        (find_directory(tmp_path, good) / FILE).write_text("{")
        shutil.copytree(tmp_path / "made", find_directory(tmp_path, good.replace(":1", ":2")))
        assert (await client.ask("/v1/chat/completions", chat("minnow")))[0] == 200
        assert (await client.ask("/v1/chat/completions", chat(good)))[0] == 404
        assert (await client.ask("/v1/chat/completions", chat(good.replace(":1", ":2"))))[0] == 200


async def test_a_deleted_one_is_gone_at_once(tmp_path, head):
    async with serving(tmp_path) as client:
        assert (await client.ask("/v1/chat/completions", chat(head)))[0] == 200
        delete(tmp_path, head)
        status, _, answer = await client.ask("/v1/chat/completions", chat(head))
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert head not in [model["id"] for model in (await client.ask("/health"))[2]["models"]]


def test_an_answer_is_cut_where_it_must_be():
    pieces = ["card", " arri", "val"]
    assert shape(pieces, 0.5, (), None, logprobs=False).text == "card arrival"
    cut = shape(pieces, 0.5, [" a"], None, logprobs=True)
    assert (cut.text, cut.finish, [one.logprob for one in cut.chosen]) == ("card", "stop", [math.log(0.5)])
    short = shape(pieces, 0.25, (), 2, logprobs=True)
    assert (short.text, short.finish, short.tokens) == ("card arri", "length", 2)
    assert [one.offset for one in short.chosen] == [0, 4]
    assert shape([], 1.0, (), None, logprobs=True).text == ""
