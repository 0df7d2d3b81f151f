"""Who asks, as handlers are given it."""

from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from shoal.core.caller import Caller
from shoal.core.errors import Fault

SCOPE = "shoal.caller"
GivenCaller = NamedDependency[Caller]


def find_caller(request: Request[Any, Any, Any]) -> Caller:
    """Whom the entrance has let in. Errors: Fault, where it has not."""
    caller = request.scope.get(SCOPE)
    if not isinstance(caller, Caller):
        raise Fault("invalid_api_key", "No API key was given.")
    return caller
