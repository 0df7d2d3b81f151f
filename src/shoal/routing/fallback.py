"""Fallback: one model after the other; the inner policy orders the deployments of each."""

from collections.abc import Sequence

import msgspec

from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.balanced import Balanced
from shoal.routing.course import Course
from shoal.routing.strategy import Around, Strategy


class Fallback(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Models in the order they are listed. With `despite_rejection` another model is asked too when one's upstream rejects the request."""

    inner: Strategy = Balanced()
    despite_rejection: bool = True

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The orders of all models, one after the other, with the limits that the first one's has."""
        models: dict[str, list[Deployment]] = {}
        for one in candidates:
            models.setdefault(one.model, []).append(one)
        courses = [self.inner.choose(group, view) for group in models.values()]
        if not courses:
            return Course(())
        order = [one for course in courses for one in course.order]
        return msgspec.structs.replace(courses[0], order=order, despite_rejection=self.despite_rejection)
