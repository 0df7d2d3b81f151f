"""Rows from uploaded files: the shapes that OpenAI's fine-tuning takes, and what is counted instead of guessed at."""

import json

from hypothesis import given
from hypothesis import strategies as st

from shoal.distil.collect import from_file
from shoal.distil.rows import Row

USER = {"role": "user", "content": "Where is my card?"}
SYSTEM = {"role": "system", "content": "Name the intent."}
ANSWER = {"role": "assistant", "content": "card_arrival"}


def gather(*lines: object) -> tuple[list[Row], dict[str, int]]:
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    gathered = from_file(data, "file-1")
    return list(gathered.rows), dict(gathered.rejected)


def test_a_conversation_s_last_answer_is_the_row_s() -> None:
    earlier = [USER, ANSWER, {"role": "user", "content": "Thanks, and my PIN?"}]
    rows, rejected = gather({"messages": [SYSTEM, *earlier, {"role": "assistant", "content": "pin", "weight": 1}]})
    assert rejected == {}
    assert [(row.answer, len(row.messages), row.messages[-1]["content"]) for row in rows] == [("pin", 4, "Thanks, and my PIN?")]
    assert (rows[0].origin.file_id, rows[0].origin.line, rows[0].origin.rule) == ("file-1", 1, "declared by the uploader")


def test_a_user_s_file_says_so_in_every_row() -> None:
    data = json.dumps({"messages": [USER, ANSWER]}).encode()
    assert [row.origin.subject for row in from_file(data, "f", "0123456789abcdef").rows] == ["0123456789abcdef"]


def test_a_line_without_an_answer_waits_for_one() -> None:
    rows, _ = gather({"messages": [SYSTEM, USER]})
    assert [(row.answer, row.messages[-1]) for row in rows] == [("", USER)]


def test_parts_of_text_prompts_and_preferences_are_read() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "my card?"}]}
    rows, rejected = gather(
        {"messages": [parts, ANSWER]},
        {"prompt": "Where is my card?", "completion": "card_arrival"},
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [SYSTEM]},
    )
    assert rejected == {}
    assert {(row.messages[-1]["content"], row.answer) for row in rows} == {("Where is my card?", "card_arrival")}
    assert [row.origin.line for row in rows] == [1, 2, 3]


def test_what_is_no_row_is_counted_by_its_reason() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    rows, rejected = gather(
        b"\xef\xbb\xbf" + json.dumps({"messages": [USER, ANSWER]}).encode(),
        b"",
        b"  \r",
        b"{not json",
        b"[" * 100_000,
        b'{"messages": "\xff"}',
        b"[1]",
        {},
        {"messages": []},
        {"messages": ["x"]},
        {"messages": [{"role": 5, "content": "x"}]},
        {"messages": [USER, call]},
        {"messages": [picture, ANSWER]},
        {"messages": [ANSWER]},
        {"prompt": 5},
    )
    assert len(rows) == 1
    assert rejected == {
        "invalid JSON": 2,
        "invalid text": 1,
        "wrong shape": 6,
        "uses tools": 1,
        "has pictures or files": 1,
        "empty question": 1,
    }


@given(
    st.binary(max_size=200)
    | st.lists(st.recursive(st.none() | st.text() | st.integers(), st.lists)).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_rows_or_counted(data: bytes) -> None:
    gathered = from_file(data, "f")
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    assert len(gathered.rows) + sum(gathered.rejected.values()) == len(lines)
