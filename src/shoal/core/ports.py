"""What the other packages must offer to the gateway and to policies: every Protocol between layers."""

from collections.abc import Sequence
from typing import Protocol

from shoal.core.identity import Principal
from shoal.core.ledger import Entry
from shoal.core.models import Deployment


class View(Protocol):
    """What a policy may know of the world while it plans."""

    def uniform(self, key: str) -> float:
        """A number in [0, 1) that depends on the request and `key` alone, so that a plan can be repeated."""


class Ledger(Protocol):
    """Where a settled request is written before its last byte leaves."""

    def append(self, entry: Entry) -> None:
        """Write one entry. Errors: Fault overloaded when it could not be; the request must then not succeed."""


class Keys(Protocol):
    """The holders of keys, known in memory."""

    def find(self, digest: bytes) -> Principal | None:
        """The holder of the key with this SHA-256 digest."""

    async def look_up(self, digest: bytes) -> Principal | None:
        """The same, asking the store about a key that memory does not know yet; rate-limited."""


class Catalogue(Protocol):
    """Which deployments a model's name stands for."""

    def resolve(self, model: str) -> Sequence[Deployment]:
        """Deployments that can answer, best first. Errors: Fault model_not_found, naming the nearest names."""
