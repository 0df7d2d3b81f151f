"""Weighted: at random, in proportion to given weights."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.draw import shuffle
from shoal.routing.names import is_named
from shoal.routing.strategy import Ranking


class Weighted(Ranking, frozen=True, forbid_unknown_fields=True):
    """`weights` by model, provider, `provider/model` or deployment id; who is not in it has the weight of its deployment.

    A weight of 0 is a fallback only.
    """

    weights: Mapping[str, Annotated[float, msgspec.Meta(ge=0)]] = {}

    def __post_init__(self) -> None:
        if self.weights and not any(self.weights.values()):
            raise ValueError("all weights are 0; give at least one model a weight above 0")

    def rank(self, candidates: Sequence[Deployment], view: View) -> Sequence[Deployment]:
        """Drawn by weight, without replacement."""
        return shuffle(candidates, self._weight, view)

    def _weight(self, deployment: Deployment) -> float:
        for name, weight in self.weights.items():
            if is_named(deployment, (name,)):
                return weight
        return deployment.weight
