"""What was tried for one request, and the receipt that says so."""

import msgspec

from shoal.core.answer import Answer
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage


class Try(msgspec.Struct, frozen=True):
    """A policy's wish: ask this deployment, after waiting `delay_s`.

    `late_after_s`: send the policy Late when nothing of the answer has come by then; the try goes on beside whatever is yielded next.
    `first_byte_s`: give up, with upstream_timeout, when the answer has not begun by then.
    `silence_s`: give up likewise when several such requests have heard nothing for so long, nor anybody else anything from that upstream.
    `why`: in words, for the receipt.
    `hold`: keep a whole answer back and send it to the policy as Answered, which judges it: it ends (the caller gets it) or goes on.
    """

    deployment: Deployment
    delay_s: float = 0.0
    late_after_s: float | None = None
    first_byte_s: float | None = None
    silence_s: float | None = None
    hold: bool = False
    why: str = ""


class Answered(msgspec.Struct, frozen=True):
    """The deployment answers. With `hold`, `answer` is what it said."""

    answer: Answer | None = None


class Failed(msgspec.Struct, frozen=True):
    """The deployment did not answer, and nothing of it has reached the caller. `deployment` None: of the tries that run, the oldest."""

    fault: Fault
    deployment: Deployment | None = None


class Late(msgspec.Struct, frozen=True):
    """Nothing of the answer has come in `late_after_s`. Yield another Try to run beside it, or None to wait for what runs."""

    deployment: Deployment
    elapsed_s: float


Outcome = Answered | Failed | Late


class Attempt(msgspec.Struct):
    """One try as the receipt lists it: who was asked, how it ended (an error code, or None for an answer), and how long it took.

    `usage` and `cost_nano` are what it used and cost where it answered at all, whether or not the caller got that answer.
    `continued` marks a try that went on from what an earlier one had said; `why` says in words why this one was asked.
    """

    deployment: Deployment
    started_at: float
    error: str | None = None
    status: int | None = None
    duration_s: float = 0.0
    usage: Usage | None = None
    cost_nano: int | None = None
    continued: bool = False
    why: str = ""


class Bill(msgspec.Struct, frozen=True):
    """What an answer used and costs. A cost of None is unknown, never free."""

    usage: Usage
    cost_nano: int | None
