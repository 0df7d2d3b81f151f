"""What the path needs of the world, in one struct that the wiring fills."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import Catalogue, Ledger
from shoal.gateway.health import HealthBook, HedgeBudget
from shoal.net.upstream import Response
from shoal.routing.routes import Route
from shoal.telemetry.tally import Tally


class Upstreams(Protocol):
    """How to reach a deployment."""

    async def send(self, deployment: Deployment, endpoint: str, call: HttpCall, first_byte_s: float | None = None) -> Response:
        """Send a call and wait for the head of the answer. Errors: Fault."""


class World(msgspec.Struct, frozen=True):
    """The parts behind the path. `estimate` gives the tokens of a request's body, roughly; `providers` are the names of all."""

    catalogue: Catalogue
    upstreams: Upstreams
    ledger: Ledger
    tally: Tally
    health: HealthBook
    hedges: HedgeBudget
    estimate: Callable[[bytes], int]
    routes: Mapping[str, Route] = {}
    providers: Collection[str] | None = None
