"""Follows a course: the one mechanism of retries, failover, second tries and judging, whatever the policy.

It always ends, asks at most 1 + fallbacks deployments at most 1 + retries times each, never asks one again that its fault tells to leave,
never waits less than a Retry-After says, and asks those whose circuit is open only when there is nobody else.
"""

from collections.abc import Generator, Iterable

import msgspec

from shoal.core.answer import Answer
from shoal.core.attempt import Answered, Failed, Late, Outcome, Try
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.course import Course

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0
LONGEST_WAIT_S = 10.0
"""Of all waits of a request together. Long enough for a bucket of tokens to fill or a burst to pass, short enough that an answer still
comes before whoever is in front of the gateway hangs up (load balancers after 30 or 60 s). Who would have to wait for longer is told so by
Retry-After, at once: the clients of OpenAI, Anthropic and LiteLLM then wait for up to 60 s themselves, and to hold their requests meanwhile
(as Portkey does, for as long) would only use up a connection and their time-outs."""

LEAST_SILENCE_S = 0.5
SILENCE_FACTOR = 5
"""How often the time in which 95% of its answers began a deployment may be silent before others are asked."""

ONLY = "the only one"

_OF_THIS_ONE = frozenset({"unsupported_parameter"})
"""What one deployment cannot do another may, although the caller is told that the mistake is its own."""


class _Wait(msgspec.Struct, frozen=True):
    """A deployment that may be asked again, `delay_s` from when it is chosen."""

    delay_s: float
    deployment: Deployment


class Walk:
    """One request's way along a course."""

    def __init__(self, course: Course, view: View) -> None:
        self._course = course
        self._view = view
        self._fresh = list({one.id: one for one in course.order}.values())
        self._asked: dict[str, int] = {}
        self._running: list[Deployment] = []
        self._again: _Wait | None = None
        self._waits: list[_Wait] = []
        self._fallbacks = course.fallbacks
        self._hedges = course.hedges
        self._waited_s = 0.0
        self._timed_out = False
        self._passed_over: list[Deployment] = []
        self._before = ""  # what became of the try before, in a word
        self._over = False

    def steps(self) -> Generator[Try | None, Outcome, None]:
        """The plan. Errors: Fault model_not_found when the course is empty."""
        if not self._fresh:
            raise Fault("model_not_found", "No deployment can take this request; GET /v1/models lists what can be reached.", param="model")
        wish = self._next()
        while wish is not None or self._running:
            if wish is not None:
                self._running.append(wish.deployment)
            outcome = yield wish
            if isinstance(outcome, Late):
                wish = self._beside()
                continue
            if isinstance(outcome, Answered):
                if self._accepts(outcome.answer):
                    return
                self._before = "an answer that would not do"
                self._leave_model(self._running.pop().model)
            else:
                self._note(outcome)
            wish = None if self._running else self._next()

    def _next(self) -> Try | None:
        """Whom to ask now that no try runs: the same again; somebody new; who may be waited for; at last those that are out of order."""
        if self._over:
            return None
        again, self._again = self._again, None
        if again is not None and self._waited_s + again.delay_s <= LONGEST_WAIT_S:
            return self._wait(again)
        fresh, out_of_order = self._new()
        if fresh is not None and not out_of_order:
            return self._ask(fresh)
        soonest = min(self._waits, key=lambda wait: wait.delay_s, default=None)
        if soonest is not None and soonest.delay_s <= LONGEST_DELAY_S and self._waited_s + soonest.delay_s <= LONGEST_WAIT_S:
            return self._wait(soonest)
        if fresh is not None:
            return self._ask(fresh, why="though out of order, like all others")
        if soonest is not None and self._waited_s + soonest.delay_s <= LONGEST_WAIT_S:
            return self._wait(soonest)
        return None

    def _new(self) -> tuple[Deployment | None, bool]:
        """The next one not asked yet, and whether its circuit is open (only where that is so of all)."""
        if not self._fresh or (self._asked and self._fallbacks <= 0):
            return None, False
        if len(self._fresh) == 1 and not self._waits:
            return self._fresh[0], False
        for number, one in enumerate(self._fresh):
            if self._view.health(one).available:
                self._passed_over = self._fresh[:number]
                return one, False
        return self._fresh[0], True

    def _ask(self, deployment: Deployment, delay_s: float = 0.0, why: str = "") -> Try:
        why = self._why(deployment, why)
        if deployment.id not in self._asked:
            self._fallbacks -= bool(self._asked)
            self._fresh.remove(deployment)
        self._asked[deployment.id] = self._asked.get(deployment.id, 0) + 1
        course = self._course
        others = bool(self._fresh) and self._fallbacks > 0
        hold = course.judge is not None and others and any(one.model != deployment.model for one in self._fresh)
        late_after_s = self._late_after_s(deployment) if others and self._hedges else None
        silence_s = self._silence_s(deployment) if others and not self._timed_out else None
        return Try(deployment, delay_s, late_after_s, course.first_byte_s, silence_s, hold, why)

    def _why(self, deployment: Deployment, more: str) -> str:
        if self._before:
            why = f"{'again' if deployment.id in self._asked else 'next'}, after {self._before}"
        elif self._asked:
            why = "beside one that is late"
        else:
            why = f"first of {len(self._fresh)}" if len(self._fresh) > 1 else ONLY
            if self._course.why:
                why = f"{why}; {self._course.why}"
        if self._passed_over:
            more = f"out of order: {', '.join(sorted({one.provider for one in self._passed_over}))}"
            self._passed_over = []
        return f"{why}; {more}" if more else why

    def _late_after_s(self, deployment: Deployment) -> float | None:
        set_s = self._course.hedge_after_s
        return set_s if set_s is not None else self._view.health(deployment).first_token_p95_s

    def _silence_s(self, deployment: Deployment) -> float | None:
        """Once a request, since the next one may be no quicker; None where nothing is known to measure silence by."""
        usual_s = self._view.health(deployment).first_token_p95_s
        return None if usual_s is None else max(LEAST_SILENCE_S, SILENCE_FACTOR * usual_s)

    def _wait(self, wait: _Wait) -> Try:
        if wait in self._waits:
            self._waits.remove(wait)
        self._waited_s += wait.delay_s
        return self._ask(wait.deployment, wait.delay_s)

    def _beside(self) -> Try | None:
        """A second try beside those that run, if one is left and the budget has room."""
        fresh, out_of_order = self._new()
        if self._over or fresh is None or out_of_order or not self._hedges or not self._view.may_hedge():
            return None
        if not self._view.health(fresh).available:
            return None
        self._hedges -= 1
        self._before = ""
        return self._ask(fresh)

    def _accepts(self, answer: Answer | None) -> bool:
        judge = self._course.judge
        return judge is None or answer is None or judge.accepts(answer)

    def _note(self, outcome: Failed) -> None:
        """What a failure means for whom to ask next."""
        fault, deployment = outcome.fault, outcome.deployment or self._running[0]
        self._running = [one for one in self._running if one.id != deployment.id]
        self._timed_out |= fault.kind == "upstream_timeout"
        self._before = fault.row.code or fault.kind
        if fault.kind == "context_length":
            self._keep_larger(deployment)
        elif fault.kind == "upstream_rejected" and self._course.despite_rejection:
            self._leave_model(deployment.model)
        elif not fault.row.try_another and fault.kind not in _OF_THIS_ONE:
            self._over = True
        if fault.row.retry_same and self._asked[deployment.id] <= self._course.retries:
            self._plan_again(deployment, fault)

    def _plan_again(self, deployment: Deployment, fault: Fault) -> None:
        """At once after a pause; or after all others where it is busy, said when to come back, or has been found out of order."""
        tries = self._asked[deployment.id]
        jitter = 0.5 + 0.5 * self._view.uniform(f"{deployment.id}/{tries}")
        delay_s = max(min(FIRST_DELAY_S * 2 ** (tries - 1), LONGEST_DELAY_S) * jitter, fault.retry_after_s or 0.0)
        others_first = fault.kind == "upstream_busy" or fault.retry_after_s is not None or not self._view.health(deployment).available
        if others_first or self._running:
            self._waits.append(_Wait(delay_s, deployment))
        else:
            self._again = _Wait(delay_s, deployment)

    def _leave_model(self, model: str) -> None:
        self._keep(one for one in self._fresh if one.model != model)

    def _keep_larger(self, than: Deployment) -> None:
        """Who is known to hold more than `than` does (more than this request, where that is not known), or may be asked in any case."""
        held = than.context_tokens if than.context_tokens is not None else self._view.tokens()
        unknown = held + self._course.despite_rejection
        self._keep(one for one in self._fresh if (unknown if one.context_tokens is None else one.context_tokens) > held)

    def _keep(self, fresh: Iterable[Deployment]) -> None:
        self._fresh = list(fresh)
        self._over |= not self._fresh
        self._waits.clear()


def walk(course: Course, view: View) -> Generator[Try | None, Outcome, None]:
    """The plan that follows a course. Errors: Fault model_not_found when it is empty."""
    return Walk(course, view).steps()
