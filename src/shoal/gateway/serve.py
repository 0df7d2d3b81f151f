"""THE SENTENCE: read the request, find who can answer, plan whom to ask, attempt until one answers, settle what it cost.

Everything that happens to a request is called from here or lies below something called from here.
"""

import asyncio

import msgspec

from shoal.core.chat import Decoder, read_request
from shoal.core.errors import Fault
from shoal.core.ports import Catalogue, Ledger
from shoal.gateway.attempts import Upstreams, attempt
from shoal.gateway.call import Call
from shoal.gateway.settle import settle_failure
from shoal.routing import order
from shoal.telemetry.tally import Tally


class Gateway(msgspec.Struct, frozen=True):
    """What the path needs of the world."""

    catalogue: Catalogue
    upstreams: Upstreams
    ledger: Ledger
    tally: Tally


async def serve(call: Call, decoder: Decoder, gateway: Gateway) -> None:
    """Answer one authenticated request, exactly once, and settle it, exactly once."""
    try:
        call.request = read_request(call.exchange.body, decoder)
        candidates = gateway.catalogue.resolve(call.request.model)
        plan = order.plan(candidates, view=call)
        await attempt(call, plan, gateway.upstreams, gateway.ledger, gateway.tally)
    except Fault as fault:
        settle_failure(call, fault, gateway.ledger, gateway.tally)
    except asyncio.CancelledError:
        why = "client_gone" if call.exchange.gone else "draining"
        text = "The caller disconnected." if call.exchange.gone else "The server is shutting down; send the request again."
        settle_failure(call, Fault(why, text), gateway.ledger, gateway.tally)
