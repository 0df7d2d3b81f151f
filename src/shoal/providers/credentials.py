"""The keys of a provider: how each is sent, and which of several is next. Pure: the time is an argument.

A key that met a rate limit rests until the provider's own time is up, and the others carry on; when all rest, the one that wakes first
is used, because its 429 says more to the caller than silence would.
"""

from collections.abc import Sequence

from shoal.providers.row import Auth

HEADERS: dict[str, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
    "api-key": ("api-key", ""),
}


def header_of(auth: Auth, key: str) -> tuple[str, str] | None:
    """The header that carries a key; None where there is none (`none`), or where a signature takes its place (`aws`, `google`)."""
    found = HEADERS.get(auth)
    return None if found is None else (found[0], found[1] + key)


class KeyRing:
    """Several keys of one provider, used in turn."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self._keys = tuple(dict.fromkeys(keys))
        self._rests_until = dict.fromkeys(self._keys, 0.0)
        self._next = 0

    def __len__(self) -> int:
        return len(self._keys)

    def pick(self, now: float) -> str:
        """The next key that does not rest; when all do, the one that wakes first."""
        for step in range(len(self._keys)):
            place = (self._next + step) % len(self._keys)
            key = self._keys[place]
            if self._rests_until[key] <= now:
                self._next = (place + 1) % len(self._keys)
                return key
        return min(self._keys, key=self._rests_until.__getitem__)

    def cool(self, key: str, until: float) -> None:
        """Let a key rest until `until` (the clock of `pick`); a later time that was already set stays."""
        if key in self._rests_until:
            self._rests_until[key] = max(until, self._rests_until[key])

    def awake(self, now: float) -> int:
        """How many keys do not rest."""
        return sum(until <= now for until in self._rests_until.values())
