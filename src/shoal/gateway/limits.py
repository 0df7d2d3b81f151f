"""A key's limits on the path: what must be counted before a request is read, what must be held before anybody is asked.

Both give None where nothing must be waited for, which is nearly always; keys without limits are not even asked.
"""

import functools
from collections.abc import Awaitable

from shoal.gateway import bounds
from shoal.gateway.call import Call
from shoal.gateway.charges import markup_ppm
from shoal.gateway.hold import Hold

USUAL_OUTPUT_TOKENS = 500
"""What an answer is expected to have, of a key's tokens a minute, until it is there; less, where the caller allows less."""


def enter(call: Call) -> Awaitable[None] | None:
    """Count the request. Errors: Fault rate_limited, of the awaitable."""
    accounts = call.world.accounts
    if accounts is None:
        raise RuntimeError("a key has limits, and nobody lends")
    call.hold = hold = Hold(accounts.find(call.principal))
    return None if hold.try_enter() else hold.enter()


def cover(call: Call, hold: Hold) -> Awaitable[None] | None:
    """Hold the most that any of the candidates can cost. Errors: Fault insufficient_quota, rate_limited, overloaded, of the awaitable."""
    principal, request = call.principal, call.request
    if not principal.counted and principal.terms.tpm is None:
        return None
    size = bounds.measure(call.endpoint.kind, request)
    markup = None if principal.markup is None else functools.partial(markup_ppm, call)
    bound = bounds.most(size, call.candidates, markup) if principal.counted else bounds.Bound(0, size)
    tokens = 0
    if principal.terms.tpm is not None:
        allowed = USUAL_OUTPUT_TOKENS if size.output is None else min(size.output, USUAL_OUTPUT_TOKENS)
        tokens = call.tokens() + allowed * size.answers
    return None if hold.try_cover(bound.nano, tokens) else hold.cover(bound, tokens)
