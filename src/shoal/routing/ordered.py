"""Ordered: by priority, as the models and their deployments are listed."""

from shoal.routing.strategy import Ranking


class Ordered(Ranking, frozen=True, forbid_unknown_fields=True):
    """The first one that can answers; the others are fallbacks, in order."""
