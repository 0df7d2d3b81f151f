"""What is let in under /v1: what a worker hands on, which has seen the key, at a path that can be read in one way only."""

import re
from collections.abc import MutableMapping
from typing import Any

from shoal.control.callers.given import SCOPE
from shoal.core.caller import read_caller
from shoal.core.errors import Fault

PREFIX = b"/v1/"
_METHODS = ("GET", "POST", "DELETE")
_PLAIN = re.compile(rb"/v1(?:/[A-Za-z0-9_-][A-Za-z0-9._:-]*)+")


def enter(scope: MutableMapping[str, Any]) -> None:
    """Put who asks into the scope. Errors: Fault."""
    if not _PLAIN.fullmatch(scope["raw_path"]):
        raise Fault("not_found", "There is nothing at this URL: ids are letters, digits and '-', '_', '.' or ':'.")
    caller = read_caller(scope["headers"])
    if caller is None:
        raise Fault("invalid_api_key", "Nobody was named who asks.")
    scope[SCOPE] = caller
    if scope["method"] not in _METHODS:
        raise Fault("method_not_allowed", f"{scope['method'][:16]} is not possible here.", param=", ".join(_METHODS))
