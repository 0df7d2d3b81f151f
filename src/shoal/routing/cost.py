"""What an answer may cost, for comparing deployments; what it did cost is the ledger's business. A price that is not known is None."""

from shoal.core.models import Deployment
from shoal.core.ports import View

USUAL_OUTPUT_TOKENS = 500
"""Where a caller does not say how long an answer may be."""
_INPUT_SHARE = 0.75


def rate_pico(deployment: Deployment) -> float | None:
    """Pico-USD of an average token, of which three in four are input: a figure for every request, with nothing counted."""
    price = deployment.price
    return None if price is None else _INPUT_SHARE * price.input_pico + (1 - _INPUT_SHARE) * price.output_pico


def expected_pico(deployment: Deployment, view: View) -> int | None:
    """Pico-USD of this request: its own input, and as much output as it allows (or as is usual)."""
    price = deployment.price
    if price is None:
        return None
    output = view.max_tokens if view.max_tokens is not None else USUAL_OUTPUT_TOKENS
    if deployment.max_output_tokens is not None:
        output = min(output, deployment.max_output_tokens)
    return view.tokens() * price.input_pico + output * price.output_pico
