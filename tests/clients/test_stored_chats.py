"""Stored completions as OpenAI's SDK asks for them, of answers of every dialect, whole and streamed."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from installation import Installation
from polyglot import DIALECTS, name

HI: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
every = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def client(everyone: Installation) -> Iterator[openai.OpenAI]:
    """It does not retry by itself."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{everyone.port}/v1", api_key=everyone.key, max_retries=0) as made:
        yield made


@every
def test_a_whole_answer_is_stored(client: openai.OpenAI, dialect: str) -> None:
    labels = {"task": f"whole {dialect}"}
    raw = client.chat.completions.with_raw_response.create(
        model=name(dialect, "plain"), messages=HI, max_tokens=50, temperature=0.5, store=True, metadata=labels, user="ada"
    )
    answer = raw.parse()
    (listed,) = client.chat.completions.list(metadata=labels).data
    found = client.chat.completions.retrieve(listed.id)
    assert found == listed
    assert found.choices == answer.choices
    assert (found.usage, found.created, found.model) == (answer.usage, answer.created, answer.model)
    more = found.to_dict()
    assert (more["metadata"], more["request_id"], more["input_user"]) == (labels, raw.headers["x-request-id"], "ada")
    assert (more["temperature"], more["top_p"]) == (0.5, None)
    assert client.chat.completions.retrieve(raw.headers["x-request-id"]) == found  # by the request's id, too


@every
def test_a_stream_is_stored_as_what_it_adds_up_to(client: openai.OpenAI, dialect: str) -> None:
    labels = {"task": f"streamed {dialect}"}
    chunks = list(
        client.chat.completions.create(model=name(dialect, "plain"), messages=HI, max_tokens=50, stream=True, store=True, metadata=labels)
    )
    (found,) = client.chat.completions.list(metadata=labels).data
    assert found.object == "chat.completion"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert found.choices[0].message.content == said == "Hello there."
    assert found.usage is not None  # though the caller did not ask for it
    assert found.usage.completion_tokens > 0
    assert found.to_dict()["shoal"]["id"] == found.to_dict()["request_id"]  # type: ignore[index]


def test_lists_are_walked_in_both_orders(client: openai.OpenAI) -> None:
    labels = {"batch": "walk"}
    for number in range(5):
        more = labels | {"number": str(number), "with space": "a&b=[c] %20 é"}
        client.chat.completions.create(model=name("openai_chat", "plain"), messages=HI, max_tokens=5, store=True, metadata=more)
    asked = [one.to_dict()["request_id"] for one in client.chat.completions.list(metadata=labels, limit=2)]
    assert len(set(asked)) == 5 and asked == sorted(asked)
    newest = [one.to_dict()["request_id"] for one in client.chat.completions.list(metadata=labels, limit=2, order="desc")]
    assert newest == asked[::-1]
    (third,) = client.chat.completions.list(metadata=labels | {"number": "2", "with space": "a&b=[c] %20 é"})
    assert third.to_dict()["request_id"] == asked[2]
    model = name("openai_chat", "plain")
    assert len(list(client.chat.completions.list(metadata=labels, model=model))) == 5
    assert client.chat.completions.list(metadata=labels, model="nobody's").data == []
    page = client.chat.completions.list(metadata=labels, limit=5)
    assert page.has_more is False


def test_messages_metadata_and_deletion(client: openai.OpenAI) -> None:
    labels = {"batch": "change"}
    client.chat.completions.create(model=name("openai_chat", "plain"), messages=HI, max_tokens=5, store=True, metadata=labels)
    (one,) = client.chat.completions.list(metadata=labels)
    first = client.chat.completions.messages.list(one.id, limit=1)
    messages = list(first)
    assert [(message.id, message.role, message.content) for message in messages] == [
        (f"{one.id}-0", "system", "Be brief."),
        (f"{one.id}-1", "user", "hi"),
    ]
    assert first.has_more is True
    assert messages[0].content_parts is None
    assert messages[1].content_parts is not None and messages[1].content_parts[0].type == "text"
    assert [message.id for message in client.chat.completions.messages.list(one.id, order="desc")] == [f"{one.id}-1", f"{one.id}-0"]
    changed = client.chat.completions.update(one.id, metadata={"batch": "changed"})
    assert changed.to_dict()["metadata"] == {"batch": "changed"}
    assert client.chat.completions.list(metadata=labels).data == []
    assert client.chat.completions.update(one.id, metadata=None).to_dict()["metadata"] == {}
    gone = client.chat.completions.delete(one.id)
    assert (gone.id, gone.deleted, gone.object) == (one.id, True, "chat.completion.deleted")
    for again in (
        client.chat.completions.retrieve,
        client.chat.completions.delete,
        client.chat.completions.messages.list,
        lambda id: client.chat.completions.update(id, metadata={}),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            again(one.id)
        assert caught.value.code == "not_found"


def test_who_does_not_ask_is_not_stored(client: openai.OpenAI) -> None:
    model = name("openai_chat", "plain")
    asked: list[dict[str, Any]] = [{}, {"store": False}, {"store": True, "extra_headers": {"x-shoal-retention": "none"}}]
    for more in asked:
        client.chat.completions.create(model=model, messages=HI, max_tokens=5, metadata={"batch": "private"}, **more)
    assert client.chat.completions.list(metadata={"batch": "private"}).data == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({f"k{number}": "" for number in range(17)}, "length <= 16"),
        ({"k" * 65: ""}, "length <= 64"),
        ({"k": "v" * 513}, "length <= 512"),
        ({"k": "v" * 1_000_000}, "length <= 512"),
        ({"k": 5}, "got 'int'"),
    ],
)
def test_metadata_has_limits(client: openai.OpenAI, metadata: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.chat.completions.create(model=name("openai_chat", "plain"), messages=HI, store=True, metadata=metadata)
    assert caught.value.param == "metadata"
