"""How long to wait: seconds, milliseconds or a date, whatever an upstream sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.wire.anthropic import errors as anthropic
from shoal.wire.gemini import errors as gemini
from shoal.wire.openai_chat import errors as openai_chat
from shoal.wire.retry import LONGEST_S, retry_after_s

NOW = b"Tue, 03 Mar 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"2"}, 2.0),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"2"}, 0.25),
        ({b"retry-after-ms": b"soon", b"retry-after": b"2"}, 2.0),
        ({b"retry-after": b"Tue, 03 Mar 2026 10:00:07 GMT", b"date": NOW}, 7.0),
        ({b"retry-after": b"Tue, 03 Mar 2026 09:00:00 GMT", b"date": NOW}, 0.0),
        ({b"retry-after": b"Tue, 03 Mar 2026 10:00:07 GMT"}, None),
        ({b"retry-after": b"-5"}, 0.0),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"999999999"}, LONGEST_S),
    ],
)
def test_a_wait_is_read_however_it_is_written(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
    for read in (openai_chat.read, anthropic.read, gemini.read):
        fault = read(429, headers, b"{}")
        assert (fault.kind, fault.retry_after_s) == ("upstream_busy", seconds)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_nonsense_is_no_wait(text: bytes, date: bytes) -> None:
    wait_s = retry_after_s({b"retry-after": text, b"date": date})
    assert wait_s is None or 0 <= wait_s <= LONGEST_S
