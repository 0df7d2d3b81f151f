"""Who asks."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from shoal.core.terms import Terms

OPERATOR = "org_operator"
"""The operator's own organisation, which always exists and has no wallet."""

Kind = Literal["inference", "admin"]


class Markup(msgspec.Struct, frozen=True):
    """What is charged above cost, in millionths: `ppm` of everything, `special` instead of it, by a model's name or `route/NAME`."""

    ppm: int = 0
    special: Mapping[str, int] = {}


class Principal(msgspec.Struct, frozen=True):
    """The holder of a key: `key_id` is what the ledger knows, `name` what the operator calls it.

    `counted`: its money must be held before it is spent (it is prepaid, or has a budget). `limited`: counted, or limited in its rates.
    Both are told apart once, in `principal_of`, and not for every request.
    """

    key_id: str
    name: str
    org_id: str = OPERATOR
    project_id: str = ""
    prepaid: bool = False
    markup: Markup = Markup()
    terms: Terms = Terms()
    expires_at_ms: int | None = None
    counted: bool = False
    limited: bool = False
    scoped: bool = False
    """Whether its models, endpoints or routes are limited."""


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
    scoped = terms.models is not None or terms.endpoints is not None or terms.routes is not None
    return Principal(
        record.id,
        record.name,
        record.org_id,
        record.project_id,
        record.prepaid,
        record.markup,
        terms,
        record.expires_at_ms,
        counted,
        counted or terms.limits_rate,
        scoped,
    )
