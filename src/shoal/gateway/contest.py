"""Tries beside each other: when one is late another may start, the first that has something for the caller wins, the others are stopped.

A try that lost is listed in the receipt as superseded. What it cost is not known, since it never said.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING

from shoal.core.attempt import Attempt, Failed, Late, Outcome, Try
from shoal.core.errors import Fault

if TYPE_CHECKING:
    from shoal.gateway.call import Call

Plan = Generator[Try | None, Outcome, None]
MakeTry = Callable[["Call", Try], Awaitable[None]]


class Contest:
    """The tries of one call that run at the same time."""

    def __init__(self, call: "Call", make_try: MakeTry) -> None:
        self._call = call
        self._make_try = make_try
        self._running: dict[asyncio.Task[None], Try] = {}
        self._winner: Attempt | None = None
        self._started_at = time.perf_counter()
        self._waited_before_s = call.waited_s

    def check(self, attempt: Attempt) -> None:
        """Look whether a try may still answer; one that lost may hear from its upstream until it has stopped. Errors: Fault superseded."""
        if self._winner is not None and self._call.attempt is not attempt:  # the winner, or who goes on with what it said
            raise Fault("superseded", "Another try was faster.")

    def claim(self, attempt: Attempt) -> None:
        """The first to claim wins. Errors: Fault superseded for all others."""
        self.check(attempt)
        if self._winner is None:
            self._winner = attempt
            self._stop_waiting()
            self._mark_losers(attempt)
            for task, wish in self._running.items():
                if wish.deployment is not attempt.deployment:
                    task.cancel()

    async def run(self, wish: Try, plan: Plan) -> Outcome | None:
        """Follow the plan while tries run. None: one has answered. Otherwise the outcome that the plan is to be sent next.

        Errors: Fault, when an answer broke after it had begun.
        """
        call = self._call
        call.contest = self
        try:
            return await self._follow(wish, plan)
        finally:
            if self._winner is None:
                self._stop_waiting()
            call.contest = None
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _follow(self, first: Try, plan: Plan) -> Outcome | None:
        late_at: float | None = None
        newest = first
        hedges = self._call.world.hedges
        wish: Try | None = first
        ended: list[asyncio.Task[None]] = []
        while True:
            if wish is not None:
                newest = wish
                if self._running:
                    hedges.spend()
                self._start(wish)
                late_at = None if wish.late_after_s is None else time.monotonic() + wish.delay_s + wish.late_after_s
            wait_s = None if late_at is None or self._winner is not None else max(0.0, late_at - time.monotonic())
            if not ended:
                done, _ = await asyncio.wait(self._running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                ended = sorted(done, key=_has_answered)
            if ended:  # several may have ended in the same moment; the policy is told of one after the other
                answered, failed = self._judge(ended.pop())
                if answered or (failed is not None and not self._running):
                    return failed
                wish = None if failed is None else plan.send(failed)
            elif self._winner is not None:
                wish, late_at = None, None
            else:
                late_at, wish = None, plan.send(Late(newest.deployment, newest.late_after_s or 0.0))

    def _start(self, wish: Try) -> None:
        task = asyncio.get_running_loop().create_task(self._make_one(wish))
        self._running[task] = wish

    async def _make_one(self, wish: Try) -> None:
        await self._make_try(self._call, wish)

    def _judge(self, task: asyncio.Task[None]) -> tuple[bool, Failed | None]:
        """Whether a try has answered, or how it failed; neither where it was called off. Errors: Fault of an answer that had begun."""
        wish = self._running.pop(task)
        if task.cancelled():
            return False, None
        error = task.exception()
        if error is None:
            return True, None
        if not isinstance(error, Fault) or self._call.exchange.response_started or self._call.settled:
            raise error
        return False, None if error.kind == "superseded" else Failed(error, wish.deployment)

    def _stop_waiting(self) -> None:
        """The time until now was the upstreams', and is counted once, however many there were."""
        self._call.waited_s = self._waited_before_s + time.perf_counter() - self._started_at

    def _mark_losers(self, winner: Attempt) -> None:
        for attempt in self._call.attempts:
            if attempt is not winner and attempt.error is None:
                attempt.error = "superseded"
                attempt.duration_s = time.perf_counter() - attempt.started_at


def _has_answered(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None
