"""Conditional: what a request's metadata say decides which models and which policy.

Rules are read in order and the first that holds decides. The operators are those that routing configurations commonly have, MongoDB's
(https://portkey.ai/docs/product/ai-gateway/conditional-routing), without regular expressions.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.balanced import Balanced
from shoal.routing.course import Course
from shoal.routing.names import is_named
from shoal.routing.strategy import Strategy

Scalar = str | int | float


class Comparison(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: "$" + {"one_of": "in", "none_of": "nin"}.get(name, name)
):
    """What one metadata value must be; all that is given must hold. Ranges read the value as a number: what is none is in no range."""

    eq: Scalar | None = None
    ne: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    none_of: tuple[Scalar, ...] | None = None
    prefix: str | None = None
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in msgspec.structs.astuple(self)):
            raise ValueError("nothing is compared; write a value, or one of $eq, $ne, $in, $nin, $prefix, $gt, $gte, $lt, $lte, $exists")
        if self.one_of == ():
            raise ValueError("$in is empty, so that nothing fits it")
        least = max((one for one in (self.gt, self.gte) if one is not None), default=None)
        most = min((one for one in (self.lt, self.lte) if one is not None), default=None)
        if least is not None and most is not None and (least > most or (least == most and least in (self.gt, self.lt))):
            raise ValueError(f"no number is above {least:g} and below {most:g}")
        if self.exists is False and any(value is not None for value in msgspec.structs.astuple(self)[:-1]):
            raise ValueError("$exists = false stands with a comparison of the value that is not there")

    def holds(self, value: str | None) -> bool:
        """Whether a value fits; None is a value that the caller did not give."""
        if value is None:
            return self.exists is False or (self.exists is None and self._is_only_negative())
        if self.exists is False:
            return False
        return (
            (self.eq is None or _same(value, self.eq))
            and (self.ne is None or not _same(value, self.ne))
            and (self.one_of is None or any(_same(value, one) for one in self.one_of))
            and (self.none_of is None or not any(_same(value, one) for one in self.none_of))
            and (self.prefix is None or value.startswith(self.prefix))
            and self._in_range(value)
        )

    def _is_only_negative(self) -> bool:
        asked = (self.eq, self.one_of, self.prefix, self.gt, self.gte, self.lt, self.lte)
        return all(one is None for one in asked)

    def _in_range(self, value: str) -> bool:
        if self.gt is self.gte is self.lt is self.lte is None:
            return True
        number = _number(value)
        return (
            number is not None
            and (self.gt is None or number > self.gt)
            and (self.gte is None or number >= self.gte)
            and (self.lt is None or number < self.lt)
            and (self.lte is None or number <= self.lte)
        )


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When every comparison of `when` holds, `then` decides among `models` (without any: among the policy's own)."""

    when: Mapping[str, Scalar | Comparison]
    models: tuple[str, ...] = ()
    then: Strategy = Balanced()

    def __post_init__(self) -> None:
        if not self.when:
            raise ValueError("when is empty; a policy for all other requests is the conditional's own `otherwise`")

    def holds(self, metadata: Mapping[str, str]) -> bool:
        """Whether a request's metadata fit."""
        return all(_holds(wanted, metadata.get(key)) for key, wanted in self.when.items())


class Conditional(Strategy, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rules` in order; what none of them claims is decided by `otherwise`, among `models`."""

    rules: tuple[Rule, ...]
    models: tuple[str, ...] = ()
    otherwise: Strategy = Balanced()

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("rules is empty; give at least one, or write the policy of `otherwise` itself")
        if not self.models and any(rule.models for rule in self.rules):
            raise ValueError("rules name models of their own; name in models those of all other requests")

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """What the first rule that holds decides."""
        for number, rule in enumerate(self.rules):
            if rule.holds(view.metadata):
                return rule.then.choose(_named(candidates, rule.models or self.models), view).because(f"rules[{number}] holds")
        return self.otherwise.choose(_named(candidates, self.models), view).because("no rule holds")

    def within(self) -> Iterator[Strategy]:
        """The policies of all branches and those that they contain."""
        for branch in (*(rule.then for rule in self.rules), self.otherwise):
            yield branch
            yield from branch.within()

    def names(self) -> Sequence[str]:
        """The models of all branches, `otherwise` first."""
        names = [*self.models, *self.otherwise.names()]
        for rule in self.rules:
            names += [*rule.models, *rule.then.names()]
        return list(dict.fromkeys(names))


def _named(candidates: Sequence[Deployment], models: Sequence[str]) -> Sequence[Deployment]:
    return [one for name in models for one in candidates if is_named(one, (name,))] if models else candidates


def _holds(wanted: Scalar | Comparison, value: str | None) -> bool:
    if isinstance(wanted, Comparison):
        return wanted.holds(value)
    return value is not None and _same(value, wanted)


def _same(value: str, wanted: Scalar) -> bool:
    """Metadata are texts: a number is compared as one, a text letter by letter."""
    return value == wanted if isinstance(wanted, str) else _number(value) == wanted


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
