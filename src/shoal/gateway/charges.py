"""What a request is charged: its cost and the markup on it, at most what it held."""

from collections.abc import Sequence
from typing import NamedTuple

from shoal.core.answer import Delta
from shoal.core.attempt import Attempt
from shoal.core.errors import Fault
from shoal.core.identity import charged_nano
from shoal.core.models import Deployment
from shoal.core.usage import Usage, charge
from shoal.gateway.call import Call
from shoal.gateway.reckoning import reckon
from shoal.routing.routes import PREFIX, find_route


class Charge(NamedTuple):
    """What was used, what it cost, what the caller pays, and what is the operator's because more was not held. In nano-USD."""

    usage: Usage
    cost_nano: int | None
    charged_nano: int | None
    excess_nano: int = 0


def charge_call(call: Call, usage: Usage, cost_nano: int | None, error: str | None) -> Charge:
    """The charge for a request that is over, whatever became of it.

    Where money is held, what is not known is reckoned: a caller who hung up pays for what was asked and said until then. What cannot be
    reckoned costs all that was held. A price that is unknown (and allowed to be) charges nothing.
    """
    attempt, hold = call.attempt, call.hold
    held = None if hold is None else hold.nano
    left = error == "client_gone" and call.first_byte_at is None and attempt is not None and attempt.error is None
    if held is not None and len(call.attempts) > 1:
        cost_nano = _with_overtaken(call, cost_nano)
    if held is not None and attempt is not None and (cost_nano is None or left):
        if attempt.deployment.price is None:
            return Charge(usage, cost_nano, None)
        said = _said(call)
        usage = usage if said is None else reckon(call, attempt.deployment, said)
        own = None if said is None else charge(usage, attempt.deployment.price)
        if own is None:
            return Charge(usage, None, held)
        cost_nano = own + others_nano(call, attempt)
    if cost_nano is None:
        return Charge(usage, None, None)
    due = cost_nano if attempt is None else charged_nano(cost_nano, markup_ppm(call, attempt.deployment))
    if not call.principal.counted:
        return Charge(usage, cost_nano, due)
    paid = min(due, held or 0)
    return Charge(usage, cost_nano, paid, due - paid)


def _with_overtaken(call: Call, cost_nano: int | None) -> int | None:
    """The cost with what tries cost that another one overtook: at least what was asked of them."""
    for one in call.attempts:
        if one.error == "superseded" and one.cost_nano is None:
            one.usage = reckon(call, one.deployment, ())
            one.cost_nano = charge(one.usage, one.deployment.price)
            cost_nano = cost_nano if cost_nano is None or one.cost_nano is None else cost_nano + one.cost_nano
    return cost_nano


def _said(call: Call) -> Sequence[Delta] | None:
    """What has been said so far; None where it cannot be read any more."""
    try:
        return () if call.heard is None else call.heard()
    except Fault:
        return None


async def hold_more(call: Call, spent: Attempt) -> None:
    """Another try follows one that is paid for: hold as much again as that cost."""
    if call.hold is not None and spent.cost_nano:
        await call.hold.extend(charged_nano(spent.cost_nano, markup_ppm(call, spent.deployment)))


def others_nano(call: Call, attempt: Attempt | None) -> int:
    """What was spent on tries whose answers the caller did not get."""
    return sum(one.cost_nano or 0 for one in call.attempts if one is not attempt)


def markup_ppm(call: Call, deployment: Deployment) -> int:
    """What is charged above cost, in millionths, for this request at this deployment."""
    markup = call.principal.markup
    if markup is None:
        return 0
    if not markup.special:
        return markup.ppm
    route = find_route(call.world.routes, call.request.model)
    names = () if route is None else (PREFIX + route.name,)
    return markup.of((*names, call.request.model, deployment.model, f"{deployment.provider}/{deployment.upstream_model}"))
