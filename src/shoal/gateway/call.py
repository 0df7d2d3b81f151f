"""One request under way: who asked for what, what was tried, and the times that matter. It is also what a policy sees of the world."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from shoal.core.answer import Delta
from shoal.core.attempt import Attempt
from shoal.core.chat import Request
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.identity import Principal
from shoal.core.models import Deployment
from shoal.gateway.endpoints import Endpoint
from shoal.net.exchange import Exchange

if TYPE_CHECKING:
    from shoal.gateway.contest import Contest
    from shoal.gateway.held import Held
    from shoal.gateway.hold import Hold
    from shoal.gateway.keeping import Keeping
    from shoal.gateway.world import World

_ID_DIGITS = 20
_randomness = ""
# what the gateway itself sees to, whatever an upstream makes of it
_OURS = frozenset({"stream_options", "store", "metadata", "models", "provider", "session_id", "stream"})
_NOTHING: Mapping[str, str] = {}


def request_id(now_s: float) -> str:
    """`req_` and 32 hex digits: 12 of milliseconds since 1970, so that ids sort by time, and 80 random bits from the system."""
    global _randomness
    if not _randomness:
        _randomness = os.urandom(_ID_DIGITS // 2 * 32).hex()  # one system call for many ids
    drawn, _randomness = _randomness[:_ID_DIGITS], _randomness[_ID_DIGITS:]
    return f"req_{int(now_s * 1000):012x}{drawn}"


class Call:
    """A caller's request from the door to its settlement. Times are seconds of time.perf_counter, but for `at_s` (seconds since 1970).

    `attempt` is the try whose answer the caller gets; until there is one, the last that was begun. `dropped` names parameters that the
    upstream could not use; `notes` are remarks for the receipt.
    """

    request: Request
    attempt: Attempt | None = None
    first_byte_at: float | None = None
    waited_s = 0.0
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settled = False
    held: "Sequence[Held]" = ()  # answers that were kept back to be judged
    contest: "Contest | None" = None  # tries that run beside each other
    claimed: Attempt | None = None  # the try that has begun to answer
    strict = False  # no parameter may be left out
    free = False  # the answer comes from the cache
    policy: str | None = None  # by which it was decided whom to ask
    excluded: tuple[str, ...] = ()  # who was not to be asked, and why
    more_headers = b""  # header lines besides the receipt's
    keeping: "Keeping | None" = None  # what is kept of the answer, besides the bill
    was_read = False  # whether `request` is there: the body was found to be a request
    keeps = True  # False: nothing of this request is kept but the bill
    hold: "Hold | None" = None  # what is held of its key's allowances, where they are limited
    heard: "Callable[[], Sequence[Delta] | None] | None" = None  # what an answer has said so far, where that may have to be reckoned
    _conversation: Conversation | None = None
    _tokens: int | None = None

    def __init__(self, exchange: Exchange, endpoint: Endpoint, principal: Principal, world: "World") -> None:
        self.at_s = time.time()
        self.id = request_id(self.at_s)
        self.exchange = exchange
        self.endpoint = endpoint
        self.principal = principal
        self.world = world
        self.attempts: list[Attempt] = []
        self.candidates: Sequence[Deployment] = ()
        self.started_at = exchange.received_at

    @property
    def deployment(self) -> Deployment | None:
        """Who answered, or was asked last."""
        return self.attempt.deployment if self.attempt is not None else None

    def claim(self, attempt: Attempt) -> None:
        """The caller gets this try's answer, from now on. Errors: Fault superseded where another try was faster."""
        if self.claimed is attempt:
            return
        if self.contest is not None:
            self.contest.claim(attempt)
        for kept in self.held:
            if kept.attempt is not attempt:
                kept.attempt.error = "escalated"
        self.claimed = self.attempt = attempt
        self.world.health.first_token(attempt.deployment, time.perf_counter() - attempt.started_at)

    def drop(self, names: tuple[str, ...]) -> None:
        """Remember parameters that an upstream could not use. Errors: Fault unsupported_parameter where the caller requires them all."""
        names = tuple(name for name in names if name and name not in self.dropped and name not in _OURS)
        if names and self.strict:
            raise Fault(
                "unsupported_parameter", f"This model cannot use {names[0]!r}, and provider.require_parameters is set.", param=names[0]
            )
        self.dropped += names

    def take(self, request: Request) -> Request:
        """What the caller wants, read and checked."""
        self.request, self.was_read = request, True
        return request

    def conversation(self) -> Conversation:
        """The request in the nouns that all dialects share; read when first asked for. Errors: Fault naming the parameter."""
        if self._conversation is None:
            self._conversation = self.endpoint.converse(self.request)
        return self._conversation

    # what a policy sees (core.ports.View)

    @property
    def session(self) -> str | None:
        """What the caller named to stay with one deployment: `session_id`, else `prompt_cache_key`, else `user`."""
        return self.request.session

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's own labels."""
        return self.request.metadata or _NOTHING

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of output that the caller allows."""
        return self.request.max_tokens

    def uniform(self, key: str) -> float:
        """A number in [0, 1) from the request's id and `key`."""
        digest = hashlib.blake2b(f"{self.id}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def health(self, deployment: Deployment) -> Health:
        """How a deployment has done of late."""
        return self.world.health.view(deployment)

    def tokens(self) -> int:
        """The request's input in tokens, estimated from its bytes."""
        if self._tokens is None:
            self._tokens = self.world.estimate(self.request.body)
        return self._tokens

    def may_hedge(self) -> bool:
        """Whether the budget for second tries has room."""
        return self.world.hedges.has_room()
