"""Random orders in which a heavier deployment more often comes first: weighted sampling without replacement.

Each draws an exponential variate of its weight's rate and the smallest wins (Efraimidis and Spirakis, "Weighted random sampling with a
reservoir", 2006). A draw depends on the deployment alone, so that one more or one less leaves the order of the others as it was: with draws
that depend on a session this is weighted rendezvous hashing.
"""

import math
from collections.abc import Callable, Sequence

from shoal.core.models import Deployment
from shoal.core.ports import View


def shuffle(candidates: Sequence[Deployment], weight: Callable[[Deployment], float], view: View) -> list[Deployment]:
    """The candidates in a random order; a weight of 0 comes last."""
    return sorted(candidates, key=lambda one: arrival(view.uniform(one.id), weight(one)))


def arrival(uniform: float, weight: float) -> float:
    """When the deployment comes: exponentially distributed, at the rate `weight`; `uniform` is in [0, 1)."""
    return -math.log1p(-uniform) / weight if weight > 0 else math.inf
