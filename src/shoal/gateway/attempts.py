"""Follows a plan: asks one deployment after another until one has answered, and tells the policy how each try ended.

Once a byte of an answer has reached the caller the policy has ended: from then on a fault is the answer's, not the try's.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Protocol

from shoal.core.attempt import Attempt, Failed, Outcome, Try
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.ports import Ledger
from shoal.gateway import answer
from shoal.gateway.call import Call
from shoal.net.upstream import Response
from shoal.telemetry.tally import Tally
from shoal.wire.openai_chat import forward


class Upstreams(Protocol):
    """How to reach a deployment."""

    async def send(self, deployment: Deployment, endpoint: str, body: bytes) -> Response:
        """Send a request's body and wait for the head of the answer. Errors: Fault."""


async def attempt(call: Call, plan: Generator[Try, Outcome, None], upstreams: Upstreams, ledger: Ledger, tally: Tally) -> None:
    """Answer `call` by the first try that succeeds. Errors: the last try's Fault when none does."""
    wish = next(plan)
    while True:
        if wish.delay_s:
            await asyncio.sleep(wish.delay_s)
            call.waited_s += wish.delay_s
        try:
            await _try(call, wish.deployment, upstreams, ledger, tally)
        except Fault as fault:
            _close(call, fault)
            if call.exchange.response_started or call.settled:
                raise
            try:
                wish = plan.send(Failed(fault))
            except StopIteration:
                raise fault from None
        else:
            return


async def _try(call: Call, deployment: Deployment, upstreams: Upstreams, ledger: Ledger, tally: Tally) -> None:
    assert call.request is not None
    body = forward.encode(call.request, deployment.upstream_model)
    started = time.perf_counter()
    call.attempts.append(Attempt(deployment, started))
    try:
        response = await upstreams.send(deployment, call.endpoint, body)
    finally:
        call.waited_s += time.perf_counter() - started
    try:
        await answer.bring(call, response, ledger, tally)
    finally:
        response.close()


def _close(call: Call, fault: Fault) -> None:
    if call.attempts:
        last = call.attempts[-1]
        last.error = fault.row.code or fault.kind
        last.status = fault.upstream_status
        last.duration_s = time.perf_counter() - last.started_at
