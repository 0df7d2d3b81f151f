"""Who asks: keys held in memory, followed in the store, and a limit on how often a stranger may knock.

Secrets carry 256 bits of randomness, so their SHA-256 is what is kept, compared and looked up; a digest found in a table says nothing
about how near a guess was.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from shoal.core.addresses import Network, address_of, is_within
from shoal.core.errors import Fault
from shoal.core.identity import KeyRecord, Principal, principal_of

FOLLOW_S = 0.4
_ASKED_AT_ONCE = 4
_PREFIX = b"sk-shoal-"
_SECRET_LENGTH = len(_PREFIX) + 43


class KeySource(msgspec.Struct, frozen=True):
    """What the store offers: every change after a revision, and one key by its digest."""

    changed_since: Callable[[int], Awaitable[Sequence[KeyRecord]]]
    find: Callable[[bytes], Awaitable[KeyRecord | None]]


def presented(headers: dict[bytes, bytes]) -> bytes | None:
    """The secret that a request carries: `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(b" ")
        return secret.strip() if scheme.lower() == b"bearer" else b""
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key")


def well_formed(secret: bytes) -> bool:
    """Whether a secret has the shape of one of ours, so that asking the store about it makes sense."""
    return len(secret) == _SECRET_LENGTH and secret.startswith(_PREFIX)


def digest_of(secret: bytes) -> bytes:
    """SHA-256 of a secret."""
    return hashlib.sha256(secret).digest()


class Keyring:
    """Every valid key, in memory; changes in the store are seen within FOLLOW_S, and a key expires in time. `clock` is time.time."""

    def __init__(self, source: KeySource, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._holders: dict[bytes, Principal] = {}
        self._admins: dict[bytes, Principal] = {}
        self._revision = 0
        self._asking: dict[bytes, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    def find(self, digest: bytes) -> Principal | None:
        """The holder of a key, from memory."""
        return self._valid(self._holders.get(digest))

    def find_admin(self, digest: bytes) -> Principal | None:
        """The holder of a key for administration, from memory."""
        return self._valid(self._admins.get(digest))

    def _valid(self, holder: Principal | None) -> Principal | None:
        if holder is None or holder.expires_at_ms is None or self._clock() * 1000 < holder.expires_at_ms:
            return holder
        return None

    def is_asked(self, digest: bytes) -> bool:
        """Whether the store is being asked about this key."""
        return digest in self._asking

    def ask(self, digest: bytes) -> asyncio.Task[None]:
        """Ask the store about a key: once, however many wait for the same answer, and about a few keys at a time."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.get_running_loop().create_task(self._ask(digest))
            asking.add_done_callback(functools.partial(self._answered, digest))
        return asking

    def _answered(self, digest: bytes, asking: asyncio.Task[None]) -> None:
        self._asking.pop(digest, None)
        if not asking.cancelled():
            asking.exception()  # whoever waits has it; perhaps nobody does any more

    async def look_up(self, digest: bytes) -> Principal | None:
        """The holder of a key that memory may not know yet."""
        holder = self.find(digest)
        if holder is None:
            await asyncio.shield(self.ask(digest))
            holder = self.find(digest)
        return holder

    async def _ask(self, digest: bytes) -> None:
        async with self._turns:
            record = await self._source.find(digest)
        if record is not None:
            self._take(record)

    async def refresh(self) -> None:
        """Take over what has changed in the store since the last time."""
        for record in await self._source.changed_since(self._revision):
            self._take(record)
            self._revision = max(self._revision, record.revision)

    async def follow(self) -> None:
        """Refresh for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(FOLLOW_S)

    def _take(self, record: KeyRecord) -> None:
        self._holders.pop(record.digest, None)
        self._admins.pop(record.digest, None)
        if not record.revoked:
            (self._admins if record.kind == "admin" else self._holders)[record.digest] = principal_of(record)


def origin(peer: str, headers: Mapping[bytes, bytes], proxies: Sequence[Network]) -> str:
    """Where a request comes from: its peer, or, where that is a proxy that is trusted, the last in X-Forwarded-For that is none."""
    if not proxies or not is_within(peer, proxies):
        return peer
    for told in reversed(headers.get(b"x-forwarded-for", b"").split(b",")):
        address = told.strip().decode("latin-1")
        if address_of(address) is None:
            return peer
        if not is_within(address, proxies):
            return address
        peer = address
    return peer


class Knocks:
    """A token bucket for each peer whose keys do not fit: `per_s` refusals a second, three seconds' worth at once."""

    _PEERS = 10_000

    def __init__(self, per_s: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = max(1.0, 3 * per_s)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def count(self, peer: str) -> None:
        """One more refusal. Errors: Fault rate_limited when there were too many."""
        now = self._clock()
        level, at = self._buckets.pop(peer, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_s)
        if len(self._buckets) >= self._PEERS:  # the longest silent peer makes room
            del self._buckets[next(iter(self._buckets))]
        if level < 1:
            self._buckets[peer] = (level, now)
            raise Fault(
                "rate_limited",
                "Too many requests with invalid API keys came from this address; wait and check the key.",
                retry_after_s=(1 - level) / self._per_s,
            )
        self._buckets[peer] = (level - 1, now)
