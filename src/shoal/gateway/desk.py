"""The way to the desk, the process that serves the admin API and what callers keep: one address and port for everything, and nothing of it
in a worker.

A request is handed on over the desk's own Unix socket with the few headers that mean something there; its answer comes back framed anew.
Where the desk is down that is said, and the path goes on.
"""

from collections.abc import Iterable
from pathlib import Path

from shoal.core.caller import write_caller
from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.gateway import errands
from shoal.net.client import Pool
from shoal.net.exchange import Exchange
from shoal.net.limits import Timeouts, body_too_large
from shoal.net.target import parse_target
from shoal.net.upstream import Response

MOST_BYTES = 1024 * 1024
"""Of a request's body. Nothing that an administrator says is longer."""

_LONG_BYTES = 32 * 1024
"""An answer of this size, or of none that is told, is handed on in pieces: a worker keeps none of it."""

_TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=120.0, idle_s=60.0, total_s=900.0)
_ASKED = (
    b"authorization",
    b"x-api-key",
    b"x-goog-api-key",
    b"content-type",
    b"accept",
    b"if-match",
    b"stripe-signature",
)
_CALLERS = (b"content-type", b"accept")
"""What is handed on of a caller's own headers: who asks is said by the worker, which has seen the key."""

_TOLD = (b"content-type", b"content-disposition", b"etag", b"cache-control", b"retry-after", b"allow", b"www-authenticate", b"link")
_TOLD_ALWAYS = [(b"x-content-type-options", b"nosniff")]


def is_for_desk(path: bytes) -> bool:
    """Whether a raw path is the admin API's."""
    return path.startswith(b"/admin/") or path == b"/admin"


class Desk:
    """The desk, as a worker sees it."""

    def __init__(self, socket: Path) -> None:
        self._pool = Pool(parse_target(f"unix:{socket}"), size=64)

    def admit(self, exchange: Exchange) -> None:
        """Errors: Fault body_too_large, where the headers tell it; unknown_url for a target that might be read in two ways."""
        self.admit_errand(exchange)
        if int(exchange.headers.get(b"content-length") or 0) > MOST_BYTES:
            raise body_too_large(MOST_BYTES)

    def admit_errand(self, exchange: Exchange) -> None:
        """Errors: Fault unknown_url for a target that might be read in two ways."""
        if b"#" in exchange.path or b"#" in exchange.query:  # RFC 9112, 3.2: none has a fragment
            raise Fault("unknown_url", "There is nothing at this URL: it has a fragment.")

    async def serve(self, exchange: Exchange, origin: str) -> None:
        """Ask the desk, and answer with what it says; `origin` is the caller's address. Errors: Fault."""
        if len(exchange.body) > MOST_BYTES:
            raise body_too_large(MOST_BYTES)
        told = [(b"x-shoal-origin", origin.encode("latin-1", "replace"))]
        await self._ask(exchange, _head(exchange, exchange.path, _ASKED, told))

    async def run(self, exchange: Exchange, principal: Principal) -> None:
        """Ask the desk for what a caller's project has there. Errors: Fault."""
        await self._ask(exchange, _head(exchange, errands.plain(exchange.path), _CALLERS, write_caller(principal)))

    async def _ask(self, exchange: Exchange, head: bytes) -> None:
        try:
            response = await self._pool.send(head, exchange.body, _TIMEOUTS)
            await _relay(exchange, response)
        except Fault as fault:
            raise _away(fault) from fault

    def close(self) -> None:
        """Close every connection to it."""
        self._pool.close()


def _head(exchange: Exchange, path: bytes, asked: Iterable[bytes], told: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request's head: what was `asked` of the caller's headers, and what a worker has `told`. Its connection is for this request alone:
    none is sent twice because another had ended."""
    method = b"GET" if exchange.method == b"HEAD" else exchange.method
    query = b"?" + exchange.query if exchange.query else b""
    fields = [(name, exchange.headers[name]) for name in asked if name in exchange.headers]
    fields += [(b"host", b"desk"), (b"connection", b"close"), *told]
    lines = b"".join(b"%b: %b\r\n" % (name, b" ".join(value.split(b"\r\n"))) for name, value in fields)
    return b"%b %b%b HTTP/1.1\r\n%b" % (method, path, query, lines)


async def _relay(exchange: Exchange, response: Response) -> None:
    """Hand on an answer: whole where it is short, or else as it comes, no faster than the caller reads."""
    told = response.headers
    headers = [(name, told[name]) for name in _TOLD if name in told] + _TOLD_ALWAYS
    try:
        if exchange.method == b"HEAD" or int(told.get(b"content-length", _LONG_BYTES)) < _LONG_BYTES:
            exchange.answer(response.status, headers, await response.read())
            return
        exchange.on_pause, exchange.on_resume = response.pause, response.resume
        exchange.start(response.status, headers)
        await response.relay(exchange.send)
        exchange.end()
    finally:
        exchange.on_pause = exchange.on_resume = None
        response.close()


def _away(fault: Fault) -> Fault:
    """What is told when the desk did not answer."""
    if fault.kind == "upstream_unreachable":
        text = "The administration is not running just now, and is being started again; try again shortly. Nothing was done."
        return Fault("overloaded", text, retry_after_s=1)
    text = "The administration broke off before it had answered. What was asked may have been done: look before you repeat it."
    return Fault("overloaded", text, retry_after_s=1)
