"""Follows a plan: asks one deployment after another until one has answered, and tells the policy how each try ended.

Once a byte of an answer has reached the caller the policy has ended: from then on a fault is the answer's, not the try's. Tries beside
each other are contest.py's, answers that are judged first held.py's, going on after a break continuation.py's.
"""

import asyncio
import time
from collections.abc import Generator

from shoal.core.attempt import Answered, Attempt, Failed, Outcome, Try
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.gateway import answer, bridge, continuation, held, others
from shoal.gateway.call import Call
from shoal.gateway.contest import Contest
from shoal.gateway.settle import Settlement
from shoal.net.upstream import Response

Plan = Generator[Try | None, Outcome, None]


async def attempt(call: Call, plan: Plan) -> None:
    """Answer `call` by the first try that succeeds. Errors: the last try's Fault when none does."""
    wish = next(plan)
    while True:
        if wish is None:
            raise RuntimeError("a policy waits for a try, and none runs")
        if wish.late_after_s is not None:
            outcome: Outcome | None = await Contest(call, make_try).run(wish, plan)
        else:
            outcome = await _outcome(call, wish)
        if outcome is None:
            return
        try:
            wish = plan.send(outcome)
        except StopIteration:
            if isinstance(outcome, Failed) and not call.held:
                raise outcome.fault from None
            await held.give(call)  # where nobody did better, what was said before is better than nothing
            return


async def _outcome(call: Call, wish: Try) -> Outcome | None:
    """What a try came to for the policy; None when the caller has the answer. Errors: Fault, after the answer had begun."""
    try:
        await make_try(call, wish)
    except Fault as fault:
        if call.exchange.response_started or call.settled:
            raise
        if call.exchange.gone:
            raise Fault("client_gone", "The caller disconnected.") from None
        return Failed(fault, wish.deployment)
    return Answered(call.held[-1].answer) if wish.hold else None


async def make_try(call: Call, wish: Try) -> None:
    """Ask one deployment and bring its answer. Errors: Fault."""
    if wish.delay_s:
        await asyncio.sleep(wish.delay_s)
        call.waited_s += wish.delay_s
    deployment, health = wish.deployment, call.world.health
    this = Attempt(deployment, time.perf_counter(), why=wish.why)
    call.exchange.on_gone = _go_on if _is_made_to_its_end(deployment, call.request.stream) else None
    call.attempts.append(this)
    if call.contest is None:
        call.attempt = this
    health.begin(deployment)
    fault: Fault | None = None
    try:
        way = bridge.choose(call, deployment)
        upstreams = call.world.upstreams
        calls = [upstreams.adapt(deployment, one) for one in way.encode(deployment)]
        if calls[0].dropped:
            call.drop(calls[0].dropped)
        if len(calls) > 1:
            await answer.give(call, this, way, await _portions(call, this, way, calls))
            return
        response = await upstreams.send(deployment, call.endpoint.kind, calls[0], wish.first_byte_s, wish.silence_s)
        call.waited_s += time.perf_counter() - this.started_at
        try:
            fault = await _bring(call, this, way, response, wish)
        finally:
            response.close()
    except asyncio.CancelledError:
        fault = Fault("superseded", "The try was called off.")  # which says nothing of the deployment
        raise
    except Fault as broken:
        fault = broken
        _close(call, this, broken)
        raise
    finally:
        usage = this.usage
        health.end(deployment, fault, usage.output if usage else None, time.perf_counter() - this.started_at)


def _is_made_to_its_end(deployment: Deployment, streams: bool) -> bool:
    """Whether the upstream makes the answer, and charges for it, even where the caller hangs up: then what it cost is waited for."""
    return deployment.on_disconnect is not None and (
        deployment.on_disconnect == "goes_on" or (deployment.on_disconnect == "stops_streams" and not streams)
    )


def _go_on() -> None:
    """The caller has hung up, and nothing is called off."""


def _close(call: Call, this: Attempt, broken: Fault) -> None:
    if this.error is None:
        this.error, this.status = broken.row.code or broken.kind, broken.upstream_status
        this.duration_s = time.perf_counter() - this.started_at
    if not call.exchange.response_started:
        call.waited_s = max(call.waited_s, sum(one.duration_s for one in call.attempts))


async def _bring(call: Call, this: Attempt, way: bridge.Bridge, response: Response, wish: Try) -> Fault | None:
    """Bring the answer to the caller; what broke it, where others have gone on with it. Errors: Fault."""
    if response.status != 200:
        raise way.fault(response.status, response.headers, await answer.read(call, response))
    if isinstance(way, others.Embedded):
        way.heads.append(response.headers)
    if this.deployment.local:
        call.drop(tuple(response.headers.get(b"x-minnow-dropped", b"").decode("latin-1").split(", ")))
    if wish.hold:
        await held.keep(call, this, way, response)
    elif call.request.stream:
        return await _stream(call, this, way, response, wish.first_byte_s)
    else:
        body = response.whole() if response.complete else await answer.read(call, response)
        await answer.give(call, this, way, (body,))
    return None


async def _stream(call: Call, this: Attempt, way: bridge.Bridge, response: Response, first_byte_s: float | None) -> Fault | None:
    kind = response.headers.get(b"content-type", b"")
    if not kind.startswith(answer.STREAMED):
        if kind.startswith(b"application/json") and call.endpoint.kind == "chat":
            way.read(await answer.read(call, response))  # what an error in it means
        raise Fault("upstream_garbled", "The upstream answered a streaming request with something that is not an event stream.")
    response.replaceable = resumes = continuation.is_possible(call)
    passage, keeps = way.stream(Settlement(call, this)), resumes or call.hold is not None
    relay = answer.Relay(call, this, passage, response, keeps, first_byte_s)
    if call.hold is not None:
        call.heard = lambda: bridge.read_stream(way, relay.kept) if relay.keeps else None
    try:
        await relay.run()
    except Fault as fault:
        if not (resumes and relay.keeps and fault.row.try_another and relay.begun) or call.settled or call.exchange.gone:
            raise
        response.close()
        await continuation.go_on(call, way, relay, fault)
        return fault
    return None


async def _portions(call: Call, this: Attempt, way: bridge.Bridge, calls: bridge.Calls) -> tuple[bytes, ...]:
    """A long list that an upstream takes in portions, one after the other."""
    bodies = []
    for portion in calls:
        response = await call.world.upstreams.send(this.deployment, call.endpoint.kind, portion)
        try:
            body = await response.read()
            if response.status != 200:
                raise way.fault(response.status, response.headers, body)
            bodies.append(body)
            if isinstance(way, others.Embedded):
                way.heads.append(response.headers)
        finally:
            response.close()
    call.waited_s += time.perf_counter() - this.started_at
    return tuple(bodies)
