"""Cheapest: by what this request is expected to cost."""

import math
from collections.abc import Sequence

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.cost import expected_pico
from shoal.routing.strategy import Ranking


class Cheapest(Ranking, frozen=True, forbid_unknown_fields=True):
    """The least cost first; an unknown price last; equals in the order given."""

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """By expected cost."""

        def cost(deployment: Deployment) -> float:
            pico = expected_pico(deployment, view)
            return math.inf if pico is None else pico

        return sorted(candidates, key=cost)
