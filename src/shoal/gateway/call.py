"""One request under way: who asked for what, what was tried, and the times that matter."""

import hashlib
import os
import time

from shoal.core.attempt import Attempt
from shoal.core.chat import Request
from shoal.core.identity import Principal
from shoal.core.models import Deployment
from shoal.net.exchange import Exchange


def request_id(now_s: float) -> str:
    """`req_` and 32 hex digits: 12 of milliseconds since 1970, so that ids sort by time, and 80 random bits."""
    return f"req_{int(now_s * 1000):012x}{os.urandom(10).hex()}"


class Call:
    """A caller's request from the door to its settlement. Times are seconds of time.perf_counter, but for `at_s` (seconds since 1970)."""

    __slots__ = (
        "at_s", "attempts", "dropped", "endpoint", "exchange", "first_byte_at", "id", "principal", "request", "settled", "started_at",
        "waited_s",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, endpoint: str, principal: Principal) -> None:
        self.at_s = time.time()
        self.id = request_id(self.at_s)
        self.exchange = exchange
        self.endpoint = endpoint
        self.principal = principal
        self.request: Request | None = None
        self.attempts: list[Attempt] = []
        self.started_at = exchange.received_at
        self.first_byte_at: float | None = None
        self.waited_s = 0.0
        self.dropped = ""
        self.settled = False

    @property
    def deployment(self) -> Deployment | None:
        """Whom we asked last: who answered, if anyone did."""
        return self.attempts[-1].deployment if self.attempts else None

    def uniform(self, key: str) -> float:
        """A number in [0, 1) from the request's id and `key`."""
        digest = hashlib.blake2b(f"{self.id}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
