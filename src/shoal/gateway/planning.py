"""Whom to ask, in which order: the names and wishes of a request become candidates, and a policy's plan over them."""

from shoal.gateway.attempts import Plan
from shoal.gateway.call import Call
from shoal.routing import order


def plan(call: Call) -> Plan:
    """A plan of tries. Errors: Fault, when there is nobody to ask or the wishes contradict each other."""
    candidates = call.world.catalogue.resolve(call.request.model)
    call.candidates = candidates
    return order.plan(candidates, call)
