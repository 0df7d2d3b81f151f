"""What the path needs of the world, in one struct that the wiring fills."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import Catalogue, Ledger
from shoal.gateway.accounts import Accounts
from shoal.gateway.bodies import Bodies
from shoal.gateway.cache import AnswerCache
from shoal.gateway.health import HealthBook, HedgeBudget
from shoal.net.upstream import Response
from shoal.routing.routes import Route
from shoal.telemetry.tally import Tally
from shoal.tokens.counter import Counter


class Upstreams(Protocol):
    """How to reach a deployment."""

    def adapt(self, deployment: Deployment, call: HttpCall) -> HttpCall:
        """A call in the words of the deployment's provider; what it cannot say is added to `dropped`."""

    def send(
        self, deployment: Deployment, endpoint: str, call: HttpCall, first_byte_s: float | None = None, silence_s: float | None = None
    ) -> Awaitable[Response]:
        """Send a call and wait for the head of the answer; the times are Try's. Errors: Fault."""


class Responses(Protocol):
    """Responses that can be continued and read again (storage.responses)."""

    async def save(
        self, key_id: str, response: bytes, items: Sequence[msgspec.Raw], previous_id: str | None = None, user_id: str = ""
    ) -> bool:
        """Keep a response, with the items of its request."""

    async def chain(self, response_id: str, key_id: str) -> list[msgspec.Raw]:
        """The items of a conversation up to and with a response. Errors: Fault."""

    async def items(self, ids: Sequence[str], key_id: str) -> dict[str, msgspec.Raw]:
        """Output items by their ids. Errors: Fault."""


class World(msgspec.Struct, frozen=True):
    """The parts behind the path. `estimate` gives the tokens of a request's body, roughly; `providers` are the names of all.

    `accounts` are the keys whose money or rates are counted; `allows_unpriced`: prepaid credit may be used where a price is not known.
    """

    catalogue: Catalogue
    upstreams: Upstreams
    ledger: Ledger
    tally: Tally
    health: HealthBook
    hedges: HedgeBudget
    estimate: Callable[[bytes], int]
    routes: Mapping[str, Route] = {}
    providers: Collection[str] | None = None
    cache: AnswerCache = msgspec.field(default_factory=AnswerCache)
    counter: Counter = msgspec.field(default_factory=Counter)
    responses: Responses | None = None
    accounts: Accounts | None = None
    allows_unpriced: bool = False
    bodies: Bodies | None = None
