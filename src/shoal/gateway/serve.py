"""THE SENTENCE: read the request, look for a kept answer, plan whom to ask, hold what that may cost, attempt until one answers, settle.

Everything that happens to a request is called from here or lies below something called from here.
"""

import asyncio
import logging

from shoal.core.errors import Fault
from shoal.gateway import keeping, limits, planning, scopes
from shoal.gateway.attempts import attempt
from shoal.gateway.call import Call
from shoal.gateway.counting import count
from shoal.gateway.endpoints import Place
from shoal.gateway.settle import settle_failure

log = logging.getLogger("shoal.gateway")


async def serve(call: Call, place: Place) -> None:
    """Answer one authenticated request, exactly once, and settle it, exactly once."""
    try:
        if call.principal.limited and (turn := limits.enter(call)) is not None:
            await turn
        if call.principal.scoped:
            scopes.check_endpoint(call)
        call.take(call.endpoint.read(call.exchange.body, place.named, place.streamed))
        if planning.names_students(call):
            await planning.look(call)
        if place.endpoint.counts:
            await count(call)
        elif keeping.concerns(call) and (hit := await keeping.prepare(call)) is not None:
            await keeping.give(call, hit)
        else:
            plan = planning.plan(call)
            if call.hold is not None and (turn := limits.cover(call, call.hold)) is not None:
                await turn
            await attempt(call, plan)
    except Fault as fault:
        settle_failure(call, fault)
    except asyncio.CancelledError:
        why = "client_gone" if call.exchange.gone else "draining"
        text = "The caller disconnected." if call.exchange.gone else "The server is shutting down; send the request again."
        settle_failure(call, Fault(why, text))
    except Exception:
        log.exception("the request %s failed for a reason of our own", call.id)
        settle_failure(call, Fault("internal", "The server failed on this request; it was logged. Try again."))
    finally:
        if call.hold is not None:
            call.hold.release()
