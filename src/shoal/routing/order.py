"""Ordered: ask each deployment in turn; ask the same one again only where its fault says that may help."""

from collections.abc import Generator, Sequence

from shoal.core.attempt import Failed, Outcome, Try
from shoal.core.models import Deployment
from shoal.core.ports import View

RETRIES = 2
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0


def plan(candidates: Sequence[Deployment], view: View) -> Generator[Try, Outcome, None]:
    """Tries in order of `candidates`, each at most 1 + RETRIES times.

    The delay before a retry doubles from FIRST_DELAY_S, is jittered over [0.5, 1], and never undercuts the upstream's
    Retry-After; where that asks for more than LONGEST_DELAY_S the deployment is left alone.
    """
    for deployment in candidates:
        delay_s = 0.0
        for retry in range(1 + RETRIES):
            outcome = yield Try(deployment, delay_s)
            if not isinstance(outcome, Failed):
                return
            fault = outcome.fault
            if not fault.row.retry_same:
                break
            backoff_s = FIRST_DELAY_S * 2**retry * (0.5 + 0.5 * view.uniform(f"{deployment.id}/{retry}"))
            delay_s = max(backoff_s, fault.retry_after_s or 0.0)
            if delay_s > LONGEST_DELAY_S:
                break
        if not fault.row.try_another:
            return
