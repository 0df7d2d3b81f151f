"""Context: only those that can hold the request, and larger ones when an upstream finds that it does not fit after all."""

from collections.abc import Sequence

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.course import Course
from shoal.routing.ordered import Ordered
from shoal.routing.strategy import Around, Strategy


class Context(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Input and the output it allows must fit into `context_tokens`; deployments whose size is not known come last.

    Input is counted with `margin_share` on top, since it may be an estimate. When nobody is large enough the largest is asked: the
    upstream has the last word.
    """

    inner: Strategy = Ordered()
    margin_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin_share <= 1:
            raise ValueError(f"margin_share is a share between 0 and 1, not {self.margin_share}")

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The inner policy's order of those that can hold the request."""
        needed = view.tokens() * (1 + self.margin_share) + (view.max_tokens or 0)
        known = [one for one in candidates if one.context_tokens is not None]
        fit = [one for one in known if (one.context_tokens or 0) >= needed]
        unknown = [one for one in candidates if one.context_tokens is None]
        if not fit and not unknown and known:
            largest = max(one.context_tokens or 0 for one in known)
            fit = [one for one in known if one.context_tokens == largest]
        course = self.inner.choose(fit or unknown, view)
        if fit and unknown:
            course = msgspec.structs.replace(course, order=[*course.order, *self.inner.choose(unknown, view).order])
        small = sorted({one.model for one in known} - {one.model for one in fit})
        return course.because(f"too small for {needed:.0f} tokens: {', '.join(small)}") if small else course
