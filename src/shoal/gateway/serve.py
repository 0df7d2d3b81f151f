"""THE SENTENCE: read the request, look for a kept answer, plan whom to ask, attempt until one answers, settle what it cost.

Everything that happens to a request is called from here or lies below something called from here.
"""

import asyncio
import logging

from shoal.core.errors import Fault
from shoal.gateway import keeping, planning
from shoal.gateway.attempts import attempt
from shoal.gateway.call import Call
from shoal.gateway.counting import count
from shoal.gateway.endpoints import Place
from shoal.gateway.settle import settle_failure

log = logging.getLogger("shoal.gateway")


async def serve(call: Call, place: Place) -> None:
    """Answer one authenticated request, exactly once, and settle it, exactly once."""
    try:
        call.take(call.endpoint.read(call.exchange.body, place.named, place.streamed))
        if place.endpoint.counts:
            await count(call)
        elif keeping.concerns(call) and (hit := await keeping.prepare(call)) is not None:
            await keeping.give(call, hit)
        else:
            await attempt(call, planning.plan(call))
    except Fault as fault:
        settle_failure(call, fault)
    except asyncio.CancelledError:
        why = "client_gone" if call.exchange.gone else "draining"
        text = "The caller disconnected." if call.exchange.gone else "The server is shutting down; send the request again."
        settle_failure(call, Fault(why, text))
    except Exception:
        log.exception("the request %s failed for a reason of our own", call.id)
        settle_failure(call, Fault("internal", "The server failed on this request; it was logged. Try again."))
