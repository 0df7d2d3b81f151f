"""What came before a request becomes its input, and stored responses are shown as OpenAI shows them."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.errors import Fault
from shoal.wire.openai_responses import envelope, history, requests
from shoal.wire.openai_responses.envelope import Envelope


def request(**members: Any) -> Envelope:
    return envelope.read(json.dumps({"model": "m", "input": "hi", **members}).encode())


def raw(*items: Any) -> list[msgspec.Raw]:
    return [msgspec.Raw(json.dumps(item).encode()) for item in items]


def plain(items: list[msgspec.Raw]) -> list[Any]:
    return [json.loads(bytes(item)) for item in items]


ASKED = {"role": "user", "content": "first"}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "one"}]}


def test_earlier_turns_come_first() -> None:
    extended = history.extend(request(previous_response_id="resp_1", x_new=1), raw(ASKED, SAID))
    found = json.loads(extended.body)
    assert found["input"] == [ASKED, SAID, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    assert (found["x_new"], extended.previous) == (1, "resp_1")
    said = requests.read(extended.body).messages
    assert [(message.role, getattr(message.parts[0], "text", None)) for message in said] == [
        ("user", "first"),
        ("assistant", "one"),
        ("user", "hi"),
    ]


def test_a_request_without_a_past_is_as_it_was() -> None:
    asked = request()
    assert history.extend(asked, []) is asked


def test_references_are_filled_in() -> None:
    asked = request(input=[ASKED, {"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "item_reference"}])
    assert history.references(asked) == ("msg_1",)
    found = history.extend(asked, [], {"msg_1": raw(SAID)[0]})
    assert plain(history.input_items(found)) == [ASKED, SAID, {"role": "user", "content": "item_reference"}]
    with pytest.raises(Fault, match="'msg_1' that 'input\\[1\\]' refers to") as caught:
        history.extend(asked, [])
    assert (caught.value.status, caught.value.param) == (400, "input[1].id")


def test_what_is_stored_of_a_request_is_its_own_input() -> None:
    assert plain(history.input_items(request(input=[ASKED]))) == [ASKED]
    assert plain(history.input_items(request())) == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]


@pytest.mark.parametrize(
    ("query", "places", "more"),
    [
        ({}, range(24, 4, -1), True),
        ({"order": "asc"}, range(20), True),
        ({"limit": "100"}, range(24, -1, -1), False),
        ({"limit": "2", "order": "asc", "after": "msg_1i01"}, (2, 3), True),
        ({"after": "msg_1i00"}, (), False),
    ],
)
def test_items_are_listed_in_pages(query: dict[str, str], places: Any, more: bool) -> None:
    stored = raw(*({"role": "user", "content": str(number)} for number in range(25)))
    found = json.loads(history.page(stored, "resp_1", **query))
    ids = [f"msg_1i{place:02x}" for place in places]
    assert [item["id"] for item in found["data"]] == ids
    assert [item["content"][0]["text"] for item in found["data"]] == [str(place) for place in places]
    assert (found["object"], found["has_more"]) == ("list", more)
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


def test_an_item_keeps_its_own_id() -> None:
    stored = raw(SAID, {"type": "function_call_output", "call_id": "c", "output": "r"}, {"role": "assistant", "content": "x"})
    found = json.loads(history.page(stored, "resp_1", order="asc"))["data"]
    assert found[0] == SAID
    assert (found[1]["id"], found[1]["status"]) == ("fco_1i01", "completed")
    assert found[2]["content"] == [{"type": "output_text", "text": "x"}]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "?"}, "after"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, str], param: str) -> None:
    with pytest.raises(Fault) as caught:
        history.page(raw(ASKED), "resp_1", **query)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_deleted_and_not_there() -> None:
    assert json.loads(history.deleted("resp_1")) == {"id": "resp_1", "object": "response", "deleted": True}
    assert (history.not_found("resp_1").status, history.not_found("resp_1").param) == (404, "response_id")
