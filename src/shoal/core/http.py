"""One request to an upstream, as a dialect words it; where it goes and who signs it is the provider's business."""

import msgspec


class HttpCall(msgspec.Struct, frozen=True):
    """A POST of JSON. `path` is appended to the provider's base URL and may hold a query; `headers` come besides the usual ones.

    `dropped` names the caller's parameters that the dialect cannot say and that may be left out (the receipt lists them).
    `prefill`: the last message is the beginning of the answer, to be gone on with. `streamed`: the answer shall be a stream, for providers
    that have a place of its own for that; dialects whose paths tell it themselves leave it.
    """

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    prefill: bool = False
    streamed: bool = False
