"""Balanced, the default: cheap ones more often, whoever failed of late last.

The weights are OpenRouter's, 1/price^2: https://openrouter.ai/docs/guides/routing/provider-selection
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.cost import rate_pico
from shoal.routing.draw import shuffle
from shoal.routing.strategy import Ranking


class Balanced(Ranking, frozen=True, forbid_unknown_fields=True):
    """At random with weights of 1/price^2; those with an outage in the last `outage_memory_s` follow all others, in the same way.

    An unknown price counts as the highest known one, never as free.
    """

    outage_memory_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """Drawn by price, then parted by outages."""
        rates = {one.id: rate_pico(one) for one in candidates}
        highest = max((rate for rate in rates.values() if rate is not None), default=1.0)

        def weight(deployment: Deployment) -> float:
            rate = rates[deployment.id]
            return max(highest if rate is None else rate, 1.0) ** -2

        return sorted(shuffle(candidates, weight, view), key=lambda one: self._failed_of_late(one, view))

    def _failed_of_late(self, deployment: Deployment, view: View) -> bool:
        age_s = view.health(deployment).outage_age_s
        return age_s is not None and age_s < self.outage_memory_s
