"""Hedged: a second try beside one that is late, under a budget (Dean and Barroso, "The Tail at Scale", 2013)."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.balanced import Balanced
from shoal.routing.cascade import Cascade
from shoal.routing.course import Course
from shoal.routing.strategy import Around, Ranking, Strategy


class Hedged(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When nothing has come `after_s` after a try began, the next of the order is asked beside it; the first to answer wins.

    Without `after_s`: after the time within which 95% of the deployment's answers began, once enough is known of it. At most `hedges` for
    a request, and only while the budget of all requests has room.
    """

    inner: Strategy = Balanced()
    after_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    hedges: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1

    def __post_init__(self) -> None:
        for one in (self.inner, *self.inner.within()):
            if isinstance(one, Cascade):
                raise ValueError("a cascade holds answers back and cannot be hedged; use one or the other")
            if isinstance(one, Hedged):
                raise ValueError("hedged stands inside hedged; set hedges instead")
            if isinstance(one, Ranking) and one.fallbacks == 0:
                raise ValueError("hedges need another deployment to ask, but fallbacks = 0 allows none")

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The inner policy's course, with second tries."""
        course = self.inner.choose(candidates, view)
        return msgspec.structs.replace(course, hedges=self.hedges, hedge_after_s=self.after_s)
