"""Fastest: the quicker to its first token of two drawn at random.

The measure is peak-EWMA times load, as in Finagle (https://twitter.github.io/finagle/guide/Clients.html):
two choices keep a crowd from running to the one that was best a moment ago.
"""

from collections.abc import Sequence

from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.strategy import Ranking

_UNMEASURED_S = 60.0
"""What one is held for that is being measured for the first time: one request finds out, the others go elsewhere."""


class Fastest(Ranking, frozen=True, forbid_unknown_fields=True):
    """Best of two random ones first, then all others by the same measure; one that nothing is known of gets a request to find out."""

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """By first token and load."""
        drawn = sorted(candidates, key=lambda one: view.uniform(one.id))
        loads = {one.id: load_s(view.health(one)) for one in drawn}
        best = min(drawn[:2], key=lambda one: loads[one.id])
        return [best, *sorted((one for one in drawn if one is not best), key=lambda one: loads[one.id])]


def load_s(health: Health) -> float:
    """Seconds to a first token, times what is under way there; 0 where nothing is known nor under way."""
    if health.first_token_s is None:
        return _UNMEASURED_S * health.in_flight
    return health.first_token_s * (health.in_flight + 1)
