"""The lines of an upload: what is wrong with them is found wherever the bytes are cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.control.callers import lines
from shoal.control.callers.lines import NEEDS, Lines
from shoal.core.errors import Fault

GOOD = [
    json.dumps({"messages": []}).encode(),
    json.dumps({"prompt": "é", "completion": "x"}).encode(),
    json.dumps({"custom_id": "1", "url": "/v1/x", "body": {}, "prompt": ""}).encode(),
    b"",
    b" \r",
]
BAD = [b"{", b"[]", b"5", b'{"messages": {}}', b"\xff", b"null"]


def verdicts(pieces: list[bytes]) -> dict[str, str]:
    said = {}
    for purpose in NEEDS:
        found = Lines()
        for piece in pieces:
            found.feed(piece)
        try:
            found.check(purpose)
        except Fault as fault:
            said[purpose] = fault.message
    return said


@given(st.lists(st.sampled_from(GOOD + BAD), max_size=6), st.lists(st.integers(0, 200), max_size=5))
def test_however_a_file_is_cut_the_same_is_wrong_with_it(rows: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(rows)
    places = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    said = verdicts(pieces)
    assert said == verdicts([data])
    first = next((number for number, row in enumerate(rows, 1) if row in BAD), None)
    if first is not None:
        assert f"Line {first} is not" in said["evals"]
    else:
        assert ("evals" in said) == (not any(row.strip() for row in rows))


def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LINE_BYTES", 100)
    for end in (b"", b"\n{}"):
        said = verdicts([GOOD[2] + b"\n", b"x" * 101, b"y" * 50 + end])
        assert said.keys() == NEEDS.keys()
        assert all("Line 2 is not" in one for one in said.values())


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert verdicts([b'\xef\xbb\xbf{"prompt": "x"}']).keys() == {"batch"}
