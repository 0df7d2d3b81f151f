"""What every request passes before anything else looks at it: its path as it was sent, and its key.

Nothing behind it is open. The one path of the admin API that needs no key is where payments are told of: what is sent there is signed;
under /v1 a worker has looked at the key, and says whose it is. A path with anything but plain letters is nobody's, so that none can be read
in two ways. Keys are found by their SHA-256, which says nothing about how near a guess was, and what is no key for administration opens
nothing.
"""

import hashlib
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from shoal.control.actor import Actor, role_of
from shoal.control.callers import entrance
from shoal.core.addresses import is_within
from shoal.core.errors import Fault
from shoal.net.exchange import JSON, fault_headers
from shoal.storage.keys import SECRET_PREFIX, Key
from shoal.storage.store import STORE_ERRORS, Store

ACTOR = "shoal.actor"
ORIGIN = b"x-shoal-origin"
"""Where a request comes from: set by the gateway, which takes it from nobody else."""

SIGNED = ("POST", b"/admin/v1/webhooks/stripe")
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

NO_STORE = {"cache-control": "no-store"}
_METHODS = ("GET", "POST", "PATCH", "DELETE")
_PLAIN = re.compile(rb"/admin/v1(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


class Gate:
    """Lets those in whose key may be here, with the Actor in the scope."""

    def __init__(self, app: App, store: Store) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        try:
            if scope["raw_path"].startswith(entrance.PREFIX):
                entrance.enter(scope)
            else:
                await self._enter(scope)
        except Fault as fault:
            await _refuse(fault, send)
        except STORE_ERRORS:
            await _refuse(store_away(), send)
        else:
            await self._app(scope, receive, send)

    async def _enter(self, scope: Any) -> None:
        path: bytes = scope["raw_path"]
        if not _PLAIN.fullmatch(path):
            raise Fault("unknown_url", "There is nothing at this URL: /admin/v1/openapi.json lists what there is.")
        if (scope["method"], path) != SIGNED:
            scope[ACTOR] = await self._identify(scope["headers"])
        if scope["method"] not in _METHODS:
            raise Fault("method_not_allowed", f"{scope['method'][:16]} is not possible here.", param=", ".join(_METHODS))

    async def _identify(self, fields: Iterable[tuple[bytes, bytes]]) -> Actor:
        headers = dict(fields)
        secret = _presented(headers)
        if secret is None:
            raise Fault("invalid_api_key", "No API key was given; send 'Authorization: Bearer KEY', with a key for administration.")
        key = await self._store.keys.find(hashlib.sha256(secret).digest()) if secret.startswith(SECRET_PREFIX.encode()) else None
        if key is None or not key.active or (key.expires_at_ms is not None and key.expires_at_ms <= time.time() * 1000):
            raise Fault("invalid_api_key", "The API key is not valid: unknown, expired, or revoked.")
        if key.kind != "admin":
            raise Fault("forbidden", "This is no key for administration; `shoal keys create NAME --admin` makes one.")
        _require_address(key, headers.get(ORIGIN, b"").decode("latin-1"))
        role = role_of(key, await self._member_role(key))
        if role is None:
            raise Fault("forbidden", "This key belongs to nobody who has a role here any more.")
        return Actor(key.account_id, key.org_id, role, key.member_id)

    async def _member_role(self, key: Key) -> str | None:
        if key.member_id is None:
            return None
        try:
            return (await self._store.members.find(key.org_id, key.member_id)).role
        except Fault:
            return None


def _presented(headers: dict[bytes, bytes]) -> bytes | None:
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(b" ")
        return secret.strip() if scheme.lower() == b"bearer" else b""
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key")


def _require_address(key: Key, address: str) -> None:
    networks = [ipaddress.ip_network(one, strict=False) for one in key.terms.ips or ()]
    if key.terms.ips is not None and not is_within(address, networks):
        raise Fault("forbidden", f"This key may not be used from {address or 'here'}.")


def store_away() -> Fault:
    """The database cannot be asked."""
    return Fault("overloaded", "The database cannot be asked just now; try again shortly.", retry_after_s=1)


async def _refuse(fault: Fault, send: Send) -> None:
    body = fault.body()
    more = [(name.encode(), value.encode()) for name, value in NO_STORE.items()]
    headers = [JSON, *fault_headers(fault), *more, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
