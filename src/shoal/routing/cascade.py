"""Cascade: a cheap model first, whose answer is read before anybody sees it; where it will not do, the next model is asked."""

from collections.abc import Sequence

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.course import Course
from shoal.routing.fallback import Fallback
from shoal.routing.judgement import Judgement
from shoal.routing.strategy import Around, Ranking, Strategy


class Cascade(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Models in the inner policy's order (as listed, by default). An answer that `judge` does not accept is paid for but not given.

    The last model's answer is not held back, and nobody asks the same model twice for a better answer.
    """

    inner: Strategy = Fallback()
    judge: Judgement = Judgement()

    def __post_init__(self) -> None:
        for one in (self.inner, *self.inner.within()):
            if isinstance(one, Cascade):
                raise ValueError("a cascade stands inside a cascade; list all models in one")
            if isinstance(one, Ranking) and one.fallbacks == 0:
                raise ValueError("a cascade needs another model to go on to, but fallbacks = 0 allows none")

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The inner policy's course, judged."""
        return msgspec.structs.replace(self.inner.choose(candidates, view), judge=self.judge)
