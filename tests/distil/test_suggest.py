"""Suggestions: kinds of requests are found, counted and priced honestly, whatever order they come in."""

import hashlib
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.core.money import Price
from shoal.distil.clusters import cluster, find_frames
from shoal.distil.collect import Wanted
from shoal.distil.suggest import DAY_MS, Seen, report, show, suggest
from shoal.storage.bodies import Body, Chat
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import open_store

MINI = Price(input_pico=10_000, output_pico=20_000)
TOPICS = {
    "garden": "rose tulip hedge soil spade seed lawn compost prune bloom",
    "engine": "piston valve torque gearbox clutch diesel spark radiator axle brake",
    "bread": "flour yeast dough crust oven rye knead bake sourdough loaf",
}


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Bags of words, each word a direction of its own."""
    vectors = np.zeros((len(texts), 256), np.float32)
    for place, text in enumerate(texts):
        for word in text.lower().split():
            vectors[place, int(hashlib.sha256(word.encode()).hexdigest()[:4], 16) % 256] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))


def seen(question: str, answer: str, at: int, system: str = "", cost: int | None = 1_000_000, **more: Any) -> Seen:
    messages = (*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question})
    known = {"model": "openai/gpt-4o", "provider": "openai", "labels": {}, "input_tokens": 100, "output_tokens": 10} | more
    return Seen(at_ms=at * DAY_MS // 100, messages=messages, answer=answer, cost_nano=cost, **known)


def talk(topic: str, seed: int) -> str:
    dice = random.Random(f"{topic} {seed}")
    return " ".join(dice.choice(TOPICS[topic].split()) for _ in range(8))


def traffic() -> list[Seen]:
    """1,000 requests of ten days: 600 to name an intent, and of 400 without instructions half about gardens, half about engines."""
    intents = [
        seen(
            f"{talk('bread', at)} {at}",
            ("order", "refund", "hours")[at % 3],
            at,
            "Name the intent of the message.",
            labels={"task": "intent"},
        )
        for at in range(600)
    ]
    others = [
        seen(f"{talk(topic, at)}", f"A long tale of {talk(topic, at + 1)}.", at + 600, cost=3_000_000)
        for at in range(200)
        for topic in ("garden", "engine")
    ]
    return [*intents, *others]


def test_kinds_of_requests_are_found_and_priced() -> None:
    told = report(traffic(), 2000, embed, MINI)
    assert (told.kept, told.requests, round(told.days)) == (1000, 2000, 8)
    assert [one.requests for one in told.suggestions] == [600, 200, 200] or [one.requests for one in told.suggestions] == [200, 200, 600]
    intents = next(one for one in told.suggestions if one.requests == 600)
    assert (intents.kind, intents.labels, intents.fitness) == ("label", 3, "good")
    assert intents.share == 0.6
    assert intents.share_interval[0] < 0.6 < intents.share_interval[1]
    assert intents.share_of_cost == pytest.approx(0.6 / 1.8)
    assert intents.cost_usd == pytest.approx(600 * 0.001 / told.days * 30)
    assert intents.cost_interval_usd[0] < intents.cost_usd < intents.cost_interval_usd[1]
    assert intents.mini_usd == pytest.approx(600 * (100 * 1e-8 + 10 * 2e-8) / told.days * 30)
    assert intents.may_teach == 600
    assert intents.tag == "task=intent"
    assert intents.command == 'shoal distil run --from-logs "task=intent" --teacher openai/gpt-4o --target-quality 0.95'
    topics = [one for one in told.suggestions if one.requests == 200]
    for topic in topics:
        assert sum(any(word in one.examples[0] for word in TOPICS["garden"].split()) for one in topics) == 1
        assert (topic.kind, topic.may_teach, topic.tag) == ("text", 0, None)
        assert "metadata" in topic.command
    assert any("1000 of 2000" in line for line in told.unknown)


def test_what_is_not_known_is_said() -> None:
    few = [seen(f"{talk('bread', at)}", "yes", 1, "Say yes.", cost=None) for at in range(20)]
    told = report(few, 20, embed, None)
    (one,) = told.suggestions
    assert (one.fitness, one.mini_usd, one.cost_usd) == ("unlikely", None, 0.0)
    assert [line for line in told.unknown if "only 1.0 were looked at" in line]
    assert [line for line in told.unknown if "What 20 requests cost" in line]


def test_a_mixture_is_no_suggestion_and_examples_hold_no_personal_data() -> None:
    dice = random.Random(1)
    mixed = [seen(" ".join(f"{dice.randrange(10**6)}x" for _ in range(6)), f"{at}", at) for at in range(300)]
    told = report([*mixed, seen("write to ada@example.org now", "1", 0)], 301, embed, MINI)
    assert {one.fitness for one in told.suggestions} == {"unlikely"}
    assert "ada@" not in str(told)


def test_the_report_can_be_read() -> None:
    out = io.StringIO()
    show(report(traffic(), 1000, embed, MINI), Console(file=out, width=160))
    assert "These 60% of your requests look alike and cost 2.25 USD a month; a mini would cost 0.0027 USD." in out.getvalue()
    assert "What this cannot know" in out.getvalue()


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_does_not_matter(dice: random.Random) -> None:
    shuffled = traffic()[::5]
    dice.shuffle(shuffled)
    assert report(shuffled, 200, embed, MINI) == report(traffic()[::5], 200, embed, MINI)


def test_instructions_that_differ_in_a_date_are_one_and_openings_are_instructions() -> None:
    frame = "You are the clerk of a shop that sells bread and cakes. Answer in one friendly sentence. Today is {} of May."
    chats = [({"role": "system", "content": frame.format(at)}, {"role": "user", "content": talk("bread", at)}) for at in range(30)]
    chats += [
        ({"role": "user", "content": f"Summarise the following letter in one short plain line: {talk('engine', at)}"},) for at in range(15)
    ]
    chats += [({"role": "user", "content": talk("garden", at)},) for at in range(15)]
    found = find_frames(chats)
    assert [one.places for one in found] == [tuple(range(30)), tuple(range(30, 45))]
    assert found[1].instructions.startswith("summarise the following letter")


def test_every_vector_is_in_one_cluster() -> None:
    texts = [talk(topic, at) for topic in TOPICS for at in range(40)]
    found = cluster(embed(texts), texts)
    assert sorted(place for one in found for place in one.places) == list(range(120))
    assert [len(one.places) for one in found] == [40, 40, 40]
    assert cluster(np.zeros((0, 4), np.float32), []) == []


async def test_it_reads_what_a_project_keeps(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "shoal.db")
    try:
        with pytest.raises(Fault, match="Nothing is kept"):
            await suggest(store, OPERATOR, DEFAULT_PROJECT, embed, MINI, Wanted())
        bodies = []
        for at in range(30):
            asked = {"messages": [{"role": "system", "content": "Name it."}, {"role": "user", "content": talk("bread", at)}]}
            usage = {"prompt_tokens": 100, "completion_tokens": 5, "cost": 1.5e-05}
            answered = {"choices": [{"message": {"role": "assistant", "content": "order"}}], "usage": usage}
            about = Chat(f"chatcmpl-{at}", True, "gpt-4o", "openai/gpt-4o", "openai", {"task": "name"})
            texts = (json.dumps(asked).encode(), (json.dumps(answered) if at else "no JSON").encode())
            bodies.append(Body(f"req_{at:032x}", "key_a", DEFAULT_PROJECT, "", at * DAY_MS, *texts, about))
        await store.bodies.save(bodies)
        told = await suggest(store, OPERATOR, DEFAULT_PROJECT, embed, MINI, Wanted())
        (one,) = told.suggestions
        assert (told.kept, one.requests, one.tag, one.kind) == (29, 29, "task=name", "label")
        assert one.cost_usd == pytest.approx(29 * 1.5e-05 / 28 * 30)
    finally:
        await store.close()
