"""Least busy: the fewest requests under way."""

from collections.abc import Sequence

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.draw import arrival
from shoal.routing.strategy import Ranking


class LeastBusy(Ranking, frozen=True, forbid_unknown_fields=True):
    """The fewest requests under way for its weight first, as this process knows them; equals at random, by weight."""

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """By requests under way."""

        def load(deployment: Deployment) -> tuple[float, float]:
            busy = view.health(deployment).in_flight
            weight = deployment.weight
            return busy / weight if weight > 0 else float("inf"), arrival(view.uniform(deployment.id), weight)

        return sorted(candidates, key=load)
