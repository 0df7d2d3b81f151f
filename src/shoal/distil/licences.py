"""Whether what a model said may train another model, by the terms of its provider and the licence of its weights (licences.toml).

What is not known counts as no. An operator who has agreed on something else with a provider says so in an override, with a reason; the
rule that decided is kept with every row.
"""

import functools
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Literal

import msgspec

from shoal.distil.student import Kind
from shoal.providers.abilities import matches, short_name

DECLARED = "declared by the uploader"
CORRECTED = "corrected by the caller"


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator allows whatever licences.toml says: globs of `provider/model`, and why. Recorded with every row it let in."""

    match: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=500)]


class Decision(msgspec.Struct, frozen=True):
    """`rule` is one line: what decided, and the address of the terms where there is one."""

    allowed: bool
    rule: str


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider's terms say. `leaves`: it has none, the licence of the weights decides. Of the models `except_` it says nothing."""

    match: tuple[str, ...]
    allows: tuple[Kind | Literal["all"], ...] = ()
    terms: str = ""
    says: str = ""
    leaves: bool = False
    except_: tuple[str, ...] = msgspec.field(name="except", default=())


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the licence of a family of open weights says."""

    match: tuple[str, ...]
    allows: tuple[Kind | Literal["all"], ...]
    terms: str
    says: str


class Licences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that licences.toml knows."""

    providers: tuple[Provider, ...]
    families: tuple[Family, ...]


@functools.cache
def read_licences() -> Licences:
    """The table that Shoal ships."""
    return msgspec.toml.decode((files("shoal.distil") / "licences.toml").read_bytes(), type=Licences)


def decide(provider: str, model: str, kind: Kind, overrides: Sequence[Override] = ()) -> Decision:
    """Whether answers of a provider's model may teach a student a task of this kind. `model` is the provider's name for it."""
    own_name = model.removeprefix(f"{provider}/")
    full = f"{provider}/{own_name}".lower()
    for override in overrides:
        if matches(full, [glob.lower() for glob in override.match]):
            return Decision(True, f"override: {override.reason}")
    found = _find(provider, own_name)
    if found is None:
        return Decision(False, f"not known: whether {full} may teach; say so in an override if it may")
    rule = f"{found.says} ({found.terms})"
    if "all" in found.allows or kind in found.allows:
        return Decision(True, f"licence: {rule}")
    return Decision(False, f"licence refuses a task of the kind {kind}: {rule}")


def _find(provider: str, model: str) -> Provider | Family | None:
    for one in read_licences().providers:
        if matches(provider.lower(), one.match):
            if matches(short_name(model), one.except_):
                return None
            return _find_family(model) if one.leaves else one
    return None


def _find_family(model: str) -> Family | None:
    fitting = [one for one in read_licences().families if matches(short_name(model), one.match)]
    return fitting[-1] if fitting else None
