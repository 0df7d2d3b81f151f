"""Answers kept for the same question: exact match, one tenant's own, for a time, in one worker's memory.

What is kept is the upstream's own bytes and in which form they came, whole or streamed. A hit is read like an answer that comes in from
that upstream, so a caller of the same dialect gets its own bytes, and the other form, or another dialect, is made only when asked for.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from shoal.core.chat import members_of
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage

HEADER = b"x-shoal-cache"
DEFAULT_TTL_S, MOST_TTL_S = 300, 86_400
MAX_BYTES, MAX_ENTRY_BYTES = 64 * 1024 * 1024, 1024 * 1024
OVERHEAD_BYTES = 1024
"""What an entry is taken to weigh besides its body: its key, its place, and the objects around it."""

NOT_ASKED = frozenset(
    {
        *("stream", "stream_options"),  # the form of the answer; either form is made from the other
        *("user", "safety_identifier", "store", "session_id"),  # who asks on whose behalf, what is kept of it, and whose turn it is
        *("prompt_cache_key", "prompt_cache_retention"),  # what is read again costs less, and reads the same
    }
)
"""Members of a request that do not change what is asked.

Everything else does, what this gateway does not know included. So do `models`, `provider`, `route` and `fallbacks`: they say who may
answer, and an answer of someone whom the caller excluded is wrong, not fast.
"""
_VARYING = (b"anthropic-beta", b"anthropic-version", b"openai-beta")


class Wish(msgspec.Struct, frozen=True):
    """A caller's consent to an answer that is up to `ttl_s` seconds old, and to its own answer being kept that long."""

    ttl_s: int = DEFAULT_TTL_S


class Stored(msgspec.Struct, frozen=True):
    """A whole, successful answer as `deployment` gave it: a JSON body, or (`stream`) every byte of its events.

    The deployment's `dialect` says how to read it; `usage` is what it used when it was made, which a hit does not use again.
    """

    body: bytes
    stream: bool
    deployment: Deployment
    usage: Usage = Usage()


class Hit(msgspec.Struct, frozen=True):
    """A kept answer, made `age_s` seconds ago."""

    stored: Stored
    age_s: int


class _Entry(msgspec.Struct, frozen=True):
    stored: Stored
    made_at: float
    ends_at: float
    size: int


def wish(headers: Mapping[bytes, bytes], route_default: int | None = None) -> Wish | None:
    """What a request's `x-shoal-cache` (seconds, on or off) asks for; without it, what its route says (a TTL in seconds, or None: off).

    Errors: Fault invalid_value naming the header.
    """
    given = headers.get(HEADER)
    value = (given or b"").strip().lower()
    if given is None:
        return None if route_default is None else Wish(route_default)
    if value == b"off":
        return None
    if value == b"on":
        return Wish(route_default or DEFAULT_TTL_S)
    if value.isdigit() and len(value) <= 6 and 1 <= int(value) <= MOST_TTL_S:
        return Wish(int(value))
    shown = given[:40].decode("latin-1")
    text = f"Invalid header 'x-shoal-cache': {shown!r}; use 'on', 'off', or how many seconds an answer may be kept (1 to {MOST_TTL_S})."
    raise Fault("invalid_value", text, param=HEADER.decode())


def cache_key(
    key_id: str,
    endpoint: str,
    dialect: str,
    body: bytes,
    *,
    model: str = "",
    headers: Mapping[bytes, bytes] | None = None,
    routed_by_metadata: bool = True,
) -> bytes:
    """SHA-256 over who asks, where, in which dialect, and what: the body's members in order of their names, without white space.

    Inside of a member order counts: a model sees a schema's properties in the order they were written, and answers in it. `model` is for
    dialects that name it in the path; `headers` are the request's, of which those that choose a dialect's version count. `metadata` counts
    too unless `routed_by_metadata` is False: no policy of this request reads it. `body` is valid JSON, an object.
    """
    members = members_of(msgspec.json.format(body, indent=-1))
    left_out = NOT_ASKED if routed_by_metadata else NOT_ASKED | {"metadata"}
    parts = [key_id.encode(), endpoint.encode(), dialect.encode(), model.encode()]
    parts += [(headers or {}).get(name, b"") for name in _VARYING]
    for name in sorted(members.keys() - left_out):
        parts += [name.encode(), bytes(members[name])]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))  # no two lists of parts look alike
        digest.update(part)
    return digest.digest()


def describe(hit: Hit | None) -> bytes:
    """Header lines for an answer to a request that wished for the cache: `x-shoal-cache`, and `age` (seconds, RFC 9111) of a hit."""
    return b"x-shoal-cache: MISS\r\n" if hit is None else b"x-shoal-cache: HIT\r\nage: %d\r\n" % hit.age_s


class AnswerCache:
    """Kept answers, the least recently used first to go. Times are seconds of one clock that the caller reads."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_entry_bytes: int = MAX_ENTRY_BYTES) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._max_bytes = max_bytes
        self.max_entry_bytes = max_entry_bytes
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look_up(self, key: bytes, now: float) -> Hit | None:
        """The answer kept under a key of `cache_key`, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.ends_at:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return Hit(entry.stored, max(0, int(now - entry.made_at)))

    def put(self, key: bytes, stored: Stored, ttl_s: int, now: float) -> bool:
        """Keep an answer for `ttl_s` seconds; False when it is too large to be kept. What was kept under the key is gone either way."""
        if key in self._entries:
            self._drop(key)
        size = len(stored.body) + OVERHEAD_BYTES
        if len(stored.body) > self.max_entry_bytes or size > self._max_bytes:
            return False
        while self.size_bytes + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(stored, now, now + ttl_s, size)
        self.size_bytes += size
        return True

    def _drop(self, key: bytes) -> None:
        self.size_bytes -= self._entries.pop(key).size


class Recording:
    """An answer's bytes while they pass. One that grows beyond `limit` bytes is let go of at once; the rest passes unrecorded."""

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int = MAX_ENTRY_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit = limit

    def feed(self, data: bytes) -> None:
        """The next bytes from the upstream."""
        self._size += len(data)
        if self._size > self._limit:
            self._pieces.clear()
        else:
            self._pieces.append(data)

    def body(self) -> bytes | None:
        """All of them, once the answer has ended well; None if they were too many."""
        return None if self._size > self._limit else b"".join(self._pieces)
