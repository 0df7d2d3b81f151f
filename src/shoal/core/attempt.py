"""What was tried for one request, and the receipt that says so."""

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage


class Try(msgspec.Struct, frozen=True):
    """A policy's wish: ask this deployment, after waiting `delay_s`."""

    deployment: Deployment
    delay_s: float = 0.0


class Answered(msgspec.Struct, frozen=True):
    """The deployment answered; the policy has nothing more to do."""


class Failed(msgspec.Struct, frozen=True):
    """The deployment did not answer, and nothing of it has reached the caller."""

    fault: Fault


Outcome = Answered | Failed


class Attempt(msgspec.Struct):
    """One try as the receipt lists it: who was asked, how it ended (an error code, or None for an answer), and how long it took."""

    deployment: Deployment
    started_at: float
    error: str | None = None
    status: int | None = None
    duration_s: float = 0.0


class Bill(msgspec.Struct, frozen=True):
    """What an answer used and costs. A cost of None is unknown, never free."""

    usage: Usage
    cost_nano: int | None
