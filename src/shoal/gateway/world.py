"""What the path needs of the world, in one struct that the wiring fills."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import Catalogue, Ledger
from shoal.net.upstream import Response
from shoal.telemetry.tally import Tally


class Upstreams(Protocol):
    """How to reach a deployment."""

    async def send(self, deployment: Deployment, endpoint: str, call: HttpCall, first_byte_s: float | None = None) -> Response:
        """Send a call and wait for the head of the answer. Errors: Fault."""


class HealthBook(Protocol):
    """How deployments have done of late (gateway.health)."""

    def begin(self, deployment: Deployment) -> None:
        """A try is under way."""

    def first_token(self, deployment: Deployment, seconds: float) -> None:
        """Its answer has begun, so long after it was asked."""

    def end(self, deployment: Deployment, fault: Fault | None, tokens: int | None = None, seconds: float = 0.0) -> None:
        """It is over: with a fault, or well, after so many tokens in so many seconds."""

    def view(self, deployment: Deployment, now: float) -> Health:
        """What policies may know."""


class HedgeBudget(Protocol):
    """How many requests may have a second try beside a running one."""

    def has_room(self) -> bool:
        """Whether one more may."""


class World(msgspec.Struct, frozen=True):
    """The parts behind the path. `estimate` gives the tokens of a request's body, roughly."""

    catalogue: Catalogue
    upstreams: Upstreams
    ledger: Ledger
    tally: Tally
    health: HealthBook
    hedges: HedgeBudget
    estimate: Callable[[bytes], int]
