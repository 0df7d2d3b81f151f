"""The number of a request's tokens: asked of the upstream where it speaks the caller's dialect, else counted here."""

from shoal.core.attempt import Attempt
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.gateway import answer, receipt, scopes
from shoal.gateway.call import Call
from shoal.gateway.settle import settle
from shoal.wire import dialects
from shoal.wire.anthropic import counting as anthropic
from shoal.wire.gemini import counting as gemini


async def count(call: Call) -> None:
    """Answer with a count. It costs nothing. Errors: Fault."""
    candidates = call.world.catalogue.resolve(call.request.model, call.principal.org_id)
    deployment = (scopes.within(call, candidates) if call.principal.scoped else candidates)[0]
    tokens = await _ask(call, deployment)
    if tokens is None:
        tokens = call.world.counter.count_conversation(call.conversation(), deployment).tokens
    call.attempt = call.attempt or Attempt(deployment, call.started_at)
    call.free = True
    cost, written = settle(call, 200, Usage(), None)
    body = gemini.write(tokens, written) if call.endpoint.dialect == "gemini" else anthropic.write_count(tokens)
    call.exchange.answer(200, answer.JSON + receipt.header_lines(call, cost), body)


async def _ask(call: Call, deployment: Deployment) -> int | None:
    """The upstream's own count; None where it has none for us."""
    if deployment.dialect != call.endpoint.dialect:
        return None
    response = await call.world.upstreams.send(deployment, "count", _encode(call, deployment))
    try:
        body = await answer.read(call, response)
        if response.status == 200:
            return anthropic.read(body) if deployment.dialect == "anthropic" else gemini.tokens(body)
        if response.status in (404, 405, 501):  # a server of this dialect that does not count
            return None
        raise dialects.UPSTREAMS[deployment.dialect].fault(response.status, response.headers, body)
    finally:
        response.close()


def _encode(call: Call, deployment: Deployment) -> HttpCall:
    if deployment.dialect == "anthropic":
        forward = dialects.FORWARDS["anthropic", "anthropic"]
        return anthropic.forward(forward.encode(call.request, deployment), deployment)
    return gemini.encode(call.conversation(), deployment)
