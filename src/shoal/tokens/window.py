"""Whether a request fits into a model's context window. Nothing is refused on a guess that could be wrong: the upstream knows better."""

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.tokens.count import Count

FAR = 2.0
"""How many times the window an estimate must be to be believed."""


def worth_counting(estimated: int, deployment: Deployment, max_tokens: int | None) -> bool:
    """Whether an estimate of the raw request (estimate.estimate) is so large that a count could find that it does not fit.

    Most requests are far smaller than the window, and need not be counted at all.
    """
    return deployment.context_tokens is not None and estimated + (max_tokens or 0) > deployment.context_tokens


def fits(count: Count, deployment: Deployment, max_tokens: int | None = None) -> Fault | None:
    """The context_length fault of a request that does not fit, with the numbers in its words; None when it fits, or nobody can tell.

    A counted input must leave room for the answer asked for (`max_tokens`, at least one token). An estimated one must exceed the window
    FAR times, whatever the answer may have.
    """
    window = deployment.context_tokens
    if window is None:
        return None
    too_long = count.tokens + (max_tokens or 1) > window if count.exact else count.tokens > FAR * window
    if not too_long:
        return None
    how = "counted" if count.exact else "estimated"
    wanted = f" and up to {max_tokens} tokens are wanted as the answer" if max_tokens and count.exact else ""
    text = (
        f"The context window of {deployment.model!r} is {window} tokens; the messages have {count.tokens} ({how}){wanted}. "
        "Shorten the messages, ask for a shorter answer, or use a model with a larger window."
    )
    return Fault("context_length", text, param="messages")
