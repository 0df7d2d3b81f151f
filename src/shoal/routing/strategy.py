"""What policies share: each is a frozen struct, whose fields are its schema in the configuration, and makes a Course for the walk."""

from collections.abc import Generator, Iterator, Sequence
from typing import Annotated

import msgspec

from shoal.core.attempt import Answered, Outcome, Try
from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.course import Course
from shoal.routing.walk import ONLY, walk


class Strategy:
    """A policy (core.ports.Policy) that decides everything at the start; on its own it keeps the candidates' order."""

    __slots__ = ()

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """Whom to ask and how. Errors: Fault when nobody can be."""
        return Course(candidates)

    def plan(self, candidates: Sequence[Deployment], view: View) -> Generator[Try | None, Outcome, None]:
        """The plan of this policy for one request."""
        return walk(self.choose(candidates, view), view)

    def within(self) -> "Iterator[Strategy]":
        """The policies that this one contains, all the way down."""
        return iter(())

    def names(self) -> Sequence[str]:
        """The models that this policy names itself, those of its inner ones included."""
        return ()


class Ranking(Strategy, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy that puts candidates in order, and how far to go along it (see Course)."""

    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    fallbacks: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    first_byte_s: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The candidates in order of `rank`."""
        order = self.rank(candidates, view) if len(candidates) > 1 else candidates
        return Course(order, self.retries, self.fallbacks, self.first_byte_s)

    def plan(self, candidates: Sequence[Deployment], view: View) -> Generator[Try | None, Outcome, None]:
        """The plan for one request. Where there is but one deployment it is asked before anything else is thought of."""
        if len(candidates) != 1:
            return super().plan(candidates, view)
        return self._ask_the_one(candidates, view)

    def _ask_the_one(self, candidates: Sequence[Deployment], view: View) -> Generator[Try | None, Outcome, None]:
        outcome = yield Try(candidates[0], first_byte_s=self.first_byte_s, why=ONLY)
        if isinstance(outcome, Answered):
            return
        steps = walk(self.choose(candidates, view), view)
        next(steps)
        try:
            while True:
                outcome = yield steps.send(outcome)
        except StopIteration:
            return

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """All of the candidates, whom to ask first first."""
        return candidates


class Around(Strategy):
    """A policy that changes what its `inner` one decides."""

    __slots__ = ()
    inner: Strategy

    def within(self) -> Iterator[Strategy]:
        """The inner policy and those that it contains."""
        yield self.inner
        yield from self.inner.within()

    def names(self) -> Sequence[str]:
        """What the inner policy names."""
        return self.inner.names()
