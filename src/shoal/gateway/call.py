"""One request under way: who asked for what, what was tried, and the times that matter."""

import hashlib
import os
import time

from shoal.core.attempt import Attempt
from shoal.core.chat import Request
from shoal.core.identity import Principal
from shoal.core.models import Deployment
from shoal.net.exchange import Exchange

_ID_BYTES = 10
_randomness = b""


def request_id(now_s: float) -> str:
    """`req_` and 32 hex digits: 12 of milliseconds since 1970, so that ids sort by time, and 80 random bits from the system."""
    global _randomness
    if len(_randomness) < _ID_BYTES:
        _randomness = os.urandom(_ID_BYTES * 32)  # one system call for many ids
    drawn, _randomness = _randomness[:_ID_BYTES], _randomness[_ID_BYTES:]
    return f"req_{int(now_s * 1000):012x}{drawn.hex()}"


class Call:
    """A caller's request from the door to its settlement. Times are seconds of time.perf_counter, but for `at_s` (seconds since 1970)."""

    request: Request | None = None
    first_byte_at: float | None = None
    waited_s = 0.0
    dropped = ""
    settled = False

    def __init__(self, exchange: Exchange, endpoint: str, principal: Principal) -> None:
        self.at_s = time.time()
        self.id = request_id(self.at_s)
        self.exchange = exchange
        self.endpoint = endpoint
        self.principal = principal
        self.attempts: list[Attempt] = []
        self.started_at = exchange.received_at

    @property
    def deployment(self) -> Deployment | None:
        """Whom we asked last: who answered, if anyone did."""
        return self.attempts[-1].deployment if self.attempts else None

    def uniform(self, key: str) -> float:
        """A number in [0, 1) from the request's id and `key`."""
        digest = hashlib.blake2b(f"{self.id}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
