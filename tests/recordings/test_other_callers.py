"""The recorded answers, told to callers of every dialect: each says what was recorded, wherever the bytes are cut.

No server is needed for that: what an upstream's dialect reads, a caller's writes.
"""

import os
from pathlib import Path
from typing import NamedTuple

import cassette
import msgspec
import pytest
import said
from cassette import Recorded

from shoal.core.conversation import Conversation, Message, Text
from shoal.wire import dialects

WHERE = os.environ.get("SHOAL_RECORDINGS")
if not WHERE:
    pytest.skip("SHOAL_RECORDINGS names no directory of recordings", allow_module_level=True)
pytest.importorskip("yaml")


def _is_told(one: Recorded) -> bool:
    """Whether it is the answer of a chat, and no error within one."""
    return one.status == 200 and b'"embedding' not in one.body[:400] and not one.broken


RECORDED = [
    one
    for file in sorted(Path(WHERE).iterdir())
    if file.name.endswith((".yaml", ".yml", ".chunks.txt"))
    for one in cassette.read(file)
    if _is_told(one)
]
CALLERS = ("openai_chat", "openai_responses", "anthropic", "gemini")
CUTS = {"whole": 0, "seven": 7, "bytes": 1}
RECEIPT = b'{"id":"req_1"}'


class Stamp(NamedTuple):
    """What the gateway knows of a request."""

    id: str = "req_1"
    at_s: float = 1.0


def _tell(recorded: Recorded, caller: str, cut: int) -> bytes:
    """What a caller gets."""
    asked = Conversation(
        model=recorded.model,
        messages=(Message("user", (Text("hello"),)),),
        stream=recorded.streamed,
        extra={"stream_options": msgspec.Raw(b'{"include_usage":true}')},
    )
    upstream, writes = dialects.UPSTREAMS[recorded.dialect], dialects.CALLERS[caller]
    if not recorded.streamed:
        return writes.answer(upstream.answer(recorded.body, asked), "0.5", RECEIPT, asked, Stamp())
    reader, writer = upstream.stream(asked), writes.stream(asked, Stamp())
    body = recorded.body
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)] if cut else [body]
    out = b"".join(writer.feed(reader.feed(piece)) for piece in pieces)
    return out + writer.feed(reader.close()) + writer.close("0.5", RECEIPT)


_UNSAYABLE = {"gemini": "cache_write", "anthropic": "reasoning"}
"""Counts that a dialect has no word for."""


def _sayable(used: said.Used | None, caller: str) -> said.Used | None:
    """Counts but for those, and for what is 0: so some dialects say that it is not known."""
    if used is None or not any(used.values()):
        return None
    return {name: count for name, count in used.items() if name != _UNSAYABLE.get(caller) and (count or name in ("input", "output"))}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_every_caller_is_told_the_same(recorded: Recorded, caller: str, cut: str) -> None:
    if cut != "whole" and not recorded.streamed:
        pytest.skip("not a stream")
    want = said.read(recorded.dialect, recorded.streamed, recorded.body)
    got = said.read(caller, recorded.streamed, _tell(recorded, caller, CUTS[cut]))
    assert got.text == want.text
    assert got.thought == want.thought
    assert got.calls == want.calls
    assert got.finish == want.finish
    assert _sayable(got.used, caller) == _sayable(want.used, caller)
    if caller == "openai_chat":  # the others seal the proofs of their neighbours, and have places of their own for sources
        assert got.proofs == want.proofs
        assert got.sources == want.sources
