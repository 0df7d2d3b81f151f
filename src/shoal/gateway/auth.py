"""Who asks: keys held in memory, followed in the store, and a limit on how often a stranger may knock.

Secrets carry 256 bits of randomness, so their SHA-256 is what is kept, compared and looked up; a digest found in a table says nothing
about how near a guess was.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.core.identity import KeyRecord, Principal

FOLLOW_S = 0.4
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
    """Every valid key, in memory; changes in the store are seen within FOLLOW_S."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._holders: dict[bytes, Principal] = {}
        self._revision = 0

    def find(self, digest: bytes) -> Principal | None:
        """The holder of a key, from memory."""
        return self._holders.get(digest)

    async def look_up(self, digest: bytes) -> Principal | None:
        """The holder of a key, asking the store."""
        record = await self._source.find(digest)
        if record is not None:
            self._take(record)
        return self._holders.get(digest)

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
        if record.revoked:
            self._holders.pop(record.digest, None)
        else:
            self._holders[record.digest] = Principal(record.id, record.name)


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
