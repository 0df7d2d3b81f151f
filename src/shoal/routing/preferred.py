"""Preferred: what a request's own preferences make of an inner policy's order."""

from collections.abc import Sequence

import msgspec

from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.balanced import Balanced
from shoal.routing.course import Course
from shoal.routing.names import is_of_provider
from shoal.routing.strategy import Around, Strategy


class Preferred(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Providers of `order` first, in that order; whoever is known to be slower than wished last; only the first of all if `alone`.

    `max_first_token_p95_s` and the others are thresholds of core.health.Health; who has not been measured meets them.
    """

    inner: Strategy = Balanced()
    order: tuple[str, ...] = ()
    min_tokens_per_s: float | None = None
    max_first_token_s: float | None = None
    max_first_token_p95_s: float | None = None
    alone: bool = False

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The inner policy's course, rearranged."""
        course = self.inner.choose(candidates, view)
        order = sorted(course.order, key=lambda one: (self._is_slow(view.health(one)), self._place(one)))
        return msgspec.structs.replace(course, order=order[:1] if self.alone else order)

    def _place(self, deployment: Deployment) -> int:
        places = (place for place, name in enumerate(self.order) if is_of_provider(deployment, name))
        return next(places, len(self.order))

    def _is_slow(self, health: Health) -> bool:
        return (
            _exceeds(self.min_tokens_per_s, health.tokens_per_s)
            or _exceeds(health.first_token_s, self.max_first_token_s)
            or _exceeds(health.first_token_p95_s, self.max_first_token_p95_s)
        )


def _exceeds(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > other
