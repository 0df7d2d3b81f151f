"""What a policy decides for one request: whom to ask, in which order, and how far to go before giving up."""

from collections.abc import Sequence

import msgspec

from shoal.core.models import Deployment
from shoal.routing.judgement import Judgement


class Course(msgspec.Struct, frozen=True):
    """An order and its limits.

    `retries`: of one deployment, after the first try. `fallbacks`: other deployments, after the first one. `first_byte_s`: Try's.
    `hedges`: second tries beside a late one, after `hedge_after_s` or (None) the deployment's own 95th percentile.
    `judge`: every try that another model can follow is held, and its answer judged.
    `why`: what else decided, in words, for the receipt.
    `despite_rejection`: what a model's upstream rejects is put to the other models of the order.
    """

    order: Sequence[Deployment]
    retries: int = 2
    fallbacks: int = 5
    first_byte_s: float | None = None
    hedges: int = 0
    hedge_after_s: float | None = None
    judge: Judgement | None = None
    despite_rejection: bool = False
    why: str = ""

    def because(self, why: str) -> "Course":
        """The same course, with one more reason."""
        return msgspec.structs.replace(self, why=f"{why}; {self.why}" if self.why else why)
