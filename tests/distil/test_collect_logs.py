"""Rows from what a project keeps: consent, licences, feedback, samples; and what a person who is forgotten leaves in datasets."""

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.distil import dataset
from shoal.distil.cleaning import Options
from shoal.distil.collect import CONSENT, Gathered, Wanted, from_logs
from shoal.distil.licences import CORRECTED, Override
from shoal.distil.rows import subject_of
from shoal.storage.bodies import Body, Chat
from shoal.storage.feedback import Opinion
from shoal.storage.projects import ProjectEdit
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import Store, open_store

_numbers = count(1)
WORDS = ["lantern", "harbour", "violin", "meadow", "copper", "thimble", "glacier", "saddle", "anchor", "pepper", "chimney", "walnut"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "shoal.db")
    project = await opened.projects.find(OPERATOR, DEFAULT_PROJECT)
    await opened.projects.update(OPERATOR, DEFAULT_PROJECT, project.version, ProjectEdit(may_train=True), actor="test")
    yield opened
    await opened.close()


def chat(question: str, *answers: str, model: str = "deepseek/deepseek-chat", user: str = "", request: Any = None, **more: Any) -> Body:
    number = next(_numbers)
    asked = {"messages": [{"role": "user", "content": question}], **(request or {})}
    messages = [{"role": "assistant", "content": answer} | more.get("message", {}) for answer in answers]
    choices = [{"index": at, "message": message, "finish_reason": more.get("finish", "stop")} for at, message in enumerate(messages)]
    about = Chat(f"chatcmpl-{number}", more.get("asked", True), model, model, model.partition("/")[0], more.get("labels", {}))
    bodies = (json.dumps(asked).encode(), json.dumps({"choices": choices}).encode())
    return Body(f"req_{number:032x}", "key_a", more.get("project", DEFAULT_PROJECT), user, more.get("at_ms", number), *bodies, about)


async def gather(store: Store, *overrides: Override, **wanted: Any) -> Gathered:
    return await from_logs(store, OPERATOR, DEFAULT_PROJECT, Wanted(**wanted), overrides)


async def opine(store: Store, body: Body, key: str = "key_a", **opinion: Any) -> None:
    subject = await store.feedback.find_subject(DEFAULT_PROJECT, body.request_id)
    assert subject is not None
    await store.feedback.give(DEFAULT_PROJECT, key, subject, Opinion(**opinion))


async def test_what_a_project_does_not_let_teach_does_not(store: Store) -> None:
    project = await store.projects.find(OPERATOR, DEFAULT_PROJECT)
    await store.projects.update(OPERATOR, DEFAULT_PROJECT, project.version, ProjectEdit(may_train=False), actor="test")
    with pytest.raises(Fault, match="may_train") as refused:
        await gather(store)
    assert refused.value.kind == "forbidden"


async def test_a_row_says_where_it_comes_from_and_why_it_may_teach(store: Store) -> None:
    kept = chat("Where is my card?", "It is on its way to you.", user="ada")
    await store.bodies.save([kept, chat("Elsewhere?", "Yes.", project="proj_other")])
    (row,) = (await gather(store)).rows
    assert row.messages == ({"role": "user", "content": "Where is my card?"},)
    assert row.answer == "It is on its way to you."
    origin = row.origin
    assert (origin.kind, origin.request_id, origin.model, origin.provider) == (
        "logs",
        kept.request_id,
        "deepseek/deepseek-chat",
        "deepseek",
    )
    assert origin.rule.startswith("licence: ")
    assert (origin.consent, origin.subject) == (CONSENT, subject_of(OPERATOR, "ada"))


async def test_what_is_wanted_is_found(store: Store) -> None:
    await store.bodies.save(
        [
            chat("a", "1", labels={"tag": "support"}, at_ms=10),
            chat("b", "2", labels={"tag": "sales"}, at_ms=20),
            chat("c", "3", at_ms=30, asked=False),
        ]
    )

    async def answers(**wanted: Any) -> set[str]:
        return {row.answer for row in (await gather(store, **wanted)).rows}

    assert await answers() == {"1", "2", "3"}
    assert await answers(labels={"tag": "support"}) == {"1"}
    assert await answers(since_ms=20, until_ms=30) == {"2"}
    assert await answers(asked=True) == {"1", "2"}
    assert await answers(model="deepseek/deepseek-chat") == {"1", "2", "3"}
    assert await answers(model="openai/gpt-4o") == set()
    assert await answers(most=2) == {"2", "3"}


async def test_only_those_teach_whose_terms_allow_it(store: Store) -> None:
    await store.bodies.save(
        [
            chat("Tell me of rivers", "A river is a long story of water.", model="openai/gpt-4o"),
            chat("Tell me of hills", "A hill is a patient wave of earth.", model="nobody/knows"),
            chat("Tell me of trees", "A tree is a slow fountain of wood."),
        ]
    )
    gathered = await gather(store)
    assert [row.origin.provider for row in gathered.rows] == ["deepseek"]
    assert gathered.rejected == {
        "answers of openai/gpt-4o may not teach a text task": 1,
        "answers of nobody/knows may not teach a text task": 1,
    }
    allowed = await gather(store, Override(("openai/*",), "our contract has a clause for it"))
    assert {row.origin.rule for row in allowed.rows if row.origin.provider == "openai"} == {"override: our contract has a clause for it"}
    asked = await gather(store, to_ask=True)
    assert sorted(bool(row.answer) for row in asked.rows) == [False, False, True]
    assert asked.rejected == {}


async def test_labels_may_be_learnt_where_prose_may_not(store: Store) -> None:
    await store.bodies.save([chat(f"{word} {at}?", ("refund", "card")[at % 2], model="openai/gpt-4o") for at, word in enumerate(WORDS)])
    gathered = await gather(store)
    assert len(gathered.rows) == len(WORDS)
    assert "classifiers" in gathered.rows[0].origin.rule


async def test_feedback_chooses_and_corrects(store: Store) -> None:
    bodies = [chat(f"question {at}", f"answer {at}") for at in range(5)]
    await store.bodies.save(bodies)
    await opine(store, bodies[0], score=-1.0)
    await opine(store, bodies[1], score=1.0)
    await opine(store, bodies[1], "key_b", score=-0.5)
    await opine(store, bodies[2], score=-1.0, correction=b'{"role":"assistant","content":"better"}')
    await opine(store, bodies[3], score=0.1)
    gathered = await gather(store)
    assert {row.answer for row in gathered.rows} == {"answer 1", "better", "answer 3", "answer 4"}
    assert gathered.rejected == {"a bad score": 1}
    assert [row.origin.rule for row in gathered.rows if row.answer == "better"] == [CORRECTED]
    assert {row.answer for row in (await gather(store, least_score=0.2)).rows} == {"answer 1", "better", "answer 4"}


async def test_samples_are_rows_and_their_agreement_decides(store: Store, tmp_path: Path) -> None:
    kept = [
        chat(f"{word} {WORDS[at - 3]} {WORDS[at - 7]}", *(("yes", "yes", "no") if at % 2 else ("yes", "no", "odd")))
        for at, word in enumerate(WORDS)
    ]
    await store.bodies.save(kept)
    gathered = await gather(store)
    assert len(gathered.rows) == 3 * len(WORDS)
    built = dataset.build(gathered, tmp_path / "datasets", Options(least_agreement=0.6, near_duplicates=1.0))
    assert {row.answer for rows in built.rows.values() for row in rows} == {"yes"}
    assert built.manifest.rejected == {"answers disagree": 3 * len(WORDS) // 2, "duplicate": len(WORDS)}


async def test_what_cannot_be_a_row_is_counted(store: Store) -> None:
    await store.bodies.save(
        [
            chat("a", "cut", finish="length"),
            chat("b", "no", message={"refusal": "I will not."}),
            chat("c", ""),
            chat("d", "plain", request={"tools": [{"type": "function"}]}),
            chat("e", "call", message={"tool_calls": [{"id": "1"}]}),
            chat("f"),
            shapeless(chat("g", "x")),
            chat([{"type": "image_url", "image_url": {"url": "x"}}], "a cat"),  # type: ignore[arg-type]
        ]
    )
    gathered = await gather(store)
    assert gathered.rows == ()
    assert gathered.rejected == {
        "the answer was cut": 1,
        "the model refused": 1,
        "empty answer": 2,
        "uses tools": 2,
        "wrong shape": 1,
        "has pictures or files": 1,
    }


def shapeless(body: Body) -> Body:
    """A body whose request is no object."""
    return Body(**{name: getattr(body, name) for name in body.__struct_fields__} | {"request": b"[1]"})


async def test_a_user_s_rows_are_known_by_the_hash_that_the_audit_log_keeps(store: Store, tmp_path: Path) -> None:
    asked = [chat(f"{word} {WORDS[at - 2]} {WORDS[at - 5]}?", "yes", user="a\0da" if at < 4 else "bob") for at, word in enumerate(WORDS)]
    await store.bodies.save(asked)
    built = dataset.build(await gather(store), tmp_path / "datasets", Options(near_duplicates=1.0))
    await store.retention.forget(OPERATOR, "a\0da", actor="test")
    (act,) = [one for one in await store.audit.read() if one.action == "user.forget"]
    subject = act.target.removeprefix("user:")
    assert dataset.forget(tmp_path / "datasets", lambda row: row.origin.subject == subject) == 4
    left = dataset.read(built.directory)
    assert {row.origin.subject for rows in left.rows.values() for row in rows} == {subject_of(OPERATOR, "bob")}
