"""Throughput: the most tokens a second."""

import math
from collections.abc import Sequence

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.strategy import Ranking


class Throughput(Ranking, frozen=True, forbid_unknown_fields=True):
    """The most tokens a second first, as measured here; one that nothing is known of gets a request to find out."""

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """By measured speed; equals at random."""

        def slowness(deployment: Deployment) -> tuple[float, float]:
            health = view.health(deployment)
            speed = health.tokens_per_s
            if speed is None:
                speed = 0.0 if health.in_flight else math.inf
            return -speed, view.uniform(deployment.id)

        return sorted(candidates, key=slowness)
