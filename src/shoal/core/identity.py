"""Who asks."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from shoal.core.addresses import Network
from shoal.core.terms import Terms

OPERATOR = "org_operator"
"""The operator's own organisation, which always exists and has no wallet."""

Kind = Literal["inference", "admin"]


class Markup(msgspec.Struct, frozen=True):
    """What is charged above cost, in millionths: `ppm` of everything, `special` instead of it, by a model's name or `route/NAME`."""

    ppm: int = 0
    special: Mapping[str, int] = {}

    def of(self, names: Iterable[str]) -> int:
        """Millionths for what goes by these names; the first that is special counts."""
        for name in names:
            if name in self.special:
                return self.special[name]
        return self.ppm


def charged_nano(cost_nano: int, ppm: int) -> int:
    """What is charged for what costs so much, in nano-USD, rounded up once."""
    return cost_nano if not ppm else -(-cost_nano * (1_000_000 + ppm) // 1_000_000)


class Principal(msgspec.Struct, frozen=True):
    """The holder of a key: `key_id` is what the ledger knows, `name` what the operator calls it.

    What is looked at on every request is told apart once, in `principal_of`. `counted`: its money must be held before it is spent (it is
    prepaid, or has a budget). `limited`: counted, or limited in its rates. `metered`: counted, or charged otherwise than at cost.
    `scoped`: not for all endpoints, routes and models. `networks` are where it may be used from; None is anywhere.
    """

    key_id: str
    name: str
    org_id: str = OPERATOR
    project_id: str = ""
    prepaid: bool = False
    markup: Markup | None = None
    terms: Terms = Terms()
    expires_at_ms: int | None = None
    counted: bool = False
    limited: bool = False
    metered: bool = False
    scoped: bool = False
    networks: tuple[Network, ...] | None = None


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as the store knows it. `digest` is the secret's SHA-256.

    `revision` grows with every change of any key, and with every change of an organisation for all of its keys.
    """

    id: str
    name: str
    digest: bytes
    revision: int
    revoked: bool = False
    kind: Kind = "inference"
    org_id: str = OPERATOR
    project_id: str = ""
    prepaid: bool = False
    markup: Markup = Markup()
    terms: Terms = Terms()
    expires_at_ms: int | None = None


def principal_of(record: KeyRecord) -> Principal:
    """The holder of this key."""
    terms = record.terms
    counted = record.prepaid or bool(terms.budgets)
    markup = record.markup if record.markup.ppm or record.markup.special else None
    scoped = terms.models is not None or terms.endpoints is not None or terms.routes is not None
    return Principal(
        record.id,
        record.name,
        record.org_id,
        record.project_id,
        record.prepaid,
        markup,
        terms,
        record.expires_at_ms,
        counted,
        counted or terms.limits_rate,
        counted or markup is not None,
        scoped,
        None if terms.ips is None else tuple(ipaddress.ip_network(one, strict=False) for one in terms.ips),
    )
