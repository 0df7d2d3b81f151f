"""A stream that a caller got, as the whole completion that it adds up to: what is kept of it.

https://platform.openai.com/docs/api-reference/chat/object
"""

import msgspec

from shoal.core.answer import fold
from shoal.core.usage import Usage
from shoal.wire import sse
from shoal.wire.openai_chat import answers, streams

_RECEIPT = b": shoal "


class _Settled(msgspec.Struct):
    shoal: msgspec.Raw = msgspec.Raw(b"null")


class _Receipt(msgspec.Struct):
    cost_usd: msgspec.Raw = msgspec.Raw(b"null")
    charged_usd: msgspec.Raw = msgspec.Raw(b"")  # where that is not the cost


class _Named(msgspec.Struct):
    id: str | None = None


_settled = msgspec.json.Decoder(_Settled)
_receipt = msgspec.json.Decoder(_Receipt | None)
_named = msgspec.json.Decoder(_Named)


def fold_stream(events: bytes, usage: Usage | None, n: int = 1) -> bytes:
    """The completion behind a stream of `n` choices that has ended well, with its receipt; `usage` is what was settled, which the caller
    need not have been shown. Errors: Fault upstream_garbled, upstream_cut for what is no such stream."""
    receipt = b"null"
    for event in sse.Splitter().split(events):
        if event.startswith(_RECEIPT):
            receipt = event[len(_RECEIPT) :].strip()
        elif b'"shoal"' in event and (data := sse.data_of(event)) is not None:
            receipt = bytes(_settled.decode(data).shoal)
    reader = streams.Reader(n)
    answer = fold([*reader.feed(events), *reader.close()])
    told = _receipt.decode(receipt) or _Receipt()
    cost = bytes(told.charged_usd) or bytes(told.cost_usd)
    if usage is not None:
        answer = msgspec.structs.replace(answer, usage=usage)
    return answers.write(answer, None if cost == b"null" else cost.decode(), receipt)


def id_of(completion: bytes) -> str:
    """The id of a whole completion; empty where it has none."""
    try:
        return _named.decode(completion).id or ""
    except msgspec.MsgspecError:
        return ""
