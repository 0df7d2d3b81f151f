"""The door: which endpoint a request is for, who asks, and the last word on every fault.

A stranger is turned away on the headers alone, before any of the body is read. Endpoints are data: a path, a method, and what to do.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from shoal.core.addresses import Network, is_within
from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.core.ports import Keys
from shoal.gateway import endpoints, errands
from shoal.gateway import status as pages
from shoal.gateway.auth import Knocks, digest_of, origin, presented, well_formed
from shoal.gateway.call import Call
from shoal.gateway.desk import Desk, is_for_desk
from shoal.gateway.serve import serve
from shoal.gateway.world import World
from shoal.net.exchange import Exchange

OPEN = {b"/healthz": pages.healthz, b"/readyz": pages.readyz, b"/metrics": pages.metrics}


class Page(NamedTuple):
    """An endpoint that shows something: its methods, whether a name must follow its path, and what shows it."""

    methods: tuple[bytes, ...]
    named: bool
    show: Callable[[Exchange, pages.Status, str, Principal], Awaitable[None]]


PAGES = {
    b"/v1/models": Page((b"GET",), False, pages.models),
    b"/v1/key": Page((b"GET",), False, pages.key),
    b"/v1/auth/key": Page((b"GET",), False, pages.key),
    b"/v1/receipts": Page((b"GET",), True, pages.receipts),
    b"/v1/responses": Page((b"GET", b"DELETE"), True, pages.responses),
}
_JSON_TYPES = (b"application/json", b"text/json")


class Door:
    """Where every request comes in."""

    def __init__(
        self,
        keys: Keys,
        knocks: Knocks,
        world: World,
        status: pages.Status,
        proxies: Sequence[Network] = (),
        desk: Desk | None = None,
    ) -> None:
        """`proxies` are trusted to say in X-Forwarded-For where a request comes from; `desk` serves the admin API."""
        self._proxies = proxies
        self._desk = desk
        self._keys = keys
        self._knocks = knocks
        self._world = world
        self._status = status

    def takes(self, path: bytes) -> bool:
        """Every path: what does not exist is said in our own error shape."""
        return True

    def admit(self, exchange: Exchange) -> None:
        """Check path, method, key and content type, in this order. Errors: Fault."""
        place = endpoints.find(exchange.path, exchange.query)
        if place is not None and exchange.method != b"POST" and self._desk is not None and errands.find(exchange.method, exchange.path):
            place = None
        if place is not None:
            exchange.wording, exchange.event_wording = place.endpoint.error, place.endpoint.error_event
            _require_method(exchange, b"POST")
        elif exchange.path in OPEN:
            _require_method(exchange, b"GET")
            return
        elif self._desk is not None and is_for_desk(exchange.path):
            self._desk.admit(exchange)
            self._count_stranger(exchange)
            return
        elif self._desk is not None and errands.find(exchange.method, exchange.path) is not None:
            self._desk.admit_errand(exchange)
        else:
            exchange.wording = endpoints.wording(exchange.path)
            _find_page(exchange)
        self._authenticate(exchange)
        if place is not None:
            _require_json(exchange)

    def readmit(self, exchange: Exchange) -> bool:
        """The ticket is the key's digest: who held it then may not hold it now. False sends the request through `admit`."""
        place = endpoints.find(exchange.path, exchange.query)
        if place is not None:
            exchange.wording, exchange.event_wording = place.endpoint.error, place.endpoint.error_event
        exchange.holder = holder = self._keys.find(exchange.ticket)
        return holder is not None and holder.networks is None

    async def serve(self, exchange: Exchange) -> None:
        """Answer a whole, admitted request. Errors: Fault."""
        place = endpoints.find(exchange.path, exchange.query)
        if place is None or exchange.method != b"POST":
            await self._serve_other(exchange)
            return
        principal = exchange.holder
        if principal is None:
            principal = await self._look_up(exchange)
        await serve(Call(exchange, place.endpoint, principal, self._world), place)

    async def _serve_other(self, exchange: Exchange) -> None:
        """What no model answers. Errors: Fault."""
        if (open_page := OPEN.get(exchange.path)) is not None:
            await open_page(exchange, self._status)
            return
        if self._desk is not None and is_for_desk(exchange.path):
            await self._desk.serve(exchange, origin(exchange.peer, exchange.headers, self._proxies))
            return
        principal = exchange.holder or await self._look_up(exchange)
        if self._desk is not None and (errand := errands.find(exchange.method, exchange.path)) is not None:
            errands.check(principal, errand)
            await self._desk.run(exchange, principal)
            return
        page, name = _find_page(exchange)
        await page.show(exchange, self._status, name, principal)

    def _authenticate(self, exchange: Exchange) -> None:
        secret = presented(exchange.headers)
        if secret is not None:
            exchange.ticket = digest_of(secret)
            exchange.holder = self._keys.find(exchange.ticket)
            self._require_address(exchange, exchange.holder)
        if exchange.holder is None:
            if secret is None or not self._keys.is_asked(exchange.ticket):  # many may come at once with a key that was just made
                self._knocks.count(origin(exchange.peer, exchange.headers, self._proxies))
            if secret is None:
                raise Fault(
                    "invalid_api_key", "No API key was given; send 'Authorization: Bearer KEY'. `shoal keys create NAME` makes one."
                )
            if not well_formed(secret):
                raise _wrong_key()
            if self._keys.find_admin(exchange.ticket) is not None:
                raise Fault("forbidden", "This is a key for administration: it opens /admin/v1 and nothing else.")
            self._keys.ask(exchange.ticket)

    def _count_stranger(self, exchange: Exchange) -> None:
        """The desk looks at keys itself; here it is seen only how often it is asked without one. Errors: Fault rate_limited."""
        secret = presented(exchange.headers)
        if secret is None or self._keys.find_admin(digest_of(secret)) is None:
            self._knocks.count(origin(exchange.peer, exchange.headers, self._proxies))

    def _require_address(self, exchange: Exchange, holder: Principal | None) -> None:
        """Errors: Fault forbidden, where the key may not be used from there."""
        if holder is not None and holder.networks is not None:
            address = origin(exchange.peer, exchange.headers, self._proxies)
            if not is_within(address, holder.networks):
                raise Fault("forbidden", f"This key may not be used from {address or 'here'}.")

    async def _look_up(self, exchange: Exchange) -> Principal:
        """A key that memory does not know may have been made a moment ago."""
        principal = await self._keys.look_up(digest_of(presented(exchange.headers) or b""))
        if principal is None:
            raise _wrong_key()
        self._require_address(exchange, principal)
        return principal


def _wrong_key() -> Fault:
    text = "The API key is not valid: unknown, expired, or revoked. `shoal keys list` shows the keys of this installation."
    return Fault("invalid_api_key", text)


def _require_method(exchange: Exchange, *methods: bytes) -> None:
    if exchange.method in methods or (b"GET" in methods and exchange.method == b"HEAD"):
        return
    used, path, allowed = exchange.method.decode("latin-1"), _shown(exchange.path), b", ".join(methods).decode()
    raise Fault("method_not_allowed", f"{used} is not possible on {path}; use {allowed}.", param=allowed)


def _require_json(exchange: Exchange) -> None:
    given = exchange.headers.get(b"content-type")
    if given == b"application/json" and b"content-encoding" not in exchange.headers:
        return
    if given is not None and given.partition(b";")[0].strip().lower() not in _JSON_TYPES:
        shown = given[:100].decode("latin-1")
        raise Fault("unsupported_media_type", f"The content type {shown!r} is not supported; send 'Content-Type: application/json'.")
    if exchange.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Fault("unsupported_media_type", "Compressed request bodies are not supported; send the JSON as it is.")


def _find_page(exchange: Exchange) -> tuple[Page, str]:
    """The page and the name behind it. Errors: Fault unknown_url, method_not_allowed."""
    path = exchange.path.removeprefix(b"/openai")
    for start, page in PAGES.items():
        if path == start or path.startswith(start + b"/"):
            name = unquote_to_bytes(path[len(start) + 1 :]).decode("utf-8", "replace")
            if name or not page.named:
                _require_method(exchange, *page.methods)
                return page, name
    method = exchange.method.decode("latin-1")
    raise Fault("unknown_url", f"Unknown request URL: {method} {_shown(exchange.path)}. Endpoints begin with /v1, /openai/v1 or /v1beta.")


def _shown(path: bytes) -> str:
    return path[:200].decode("latin-1")
