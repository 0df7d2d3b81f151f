"""Who can answer: a deployment is one model at one upstream, at one price."""

import msgspec

from shoal.core.money import Price


class Deployment(msgspec.Struct, frozen=True):
    """One way to reach a model. `model` is its public name, `upstream_model` what the upstream calls it; a price of None is unknown.

    `local` marks the process beside us, which tells in a header what it left out of a request."""

    id: str
    model: str
    provider: str
    upstream_model: str
    price: Price | None = None
    weight: float = 1.0
    local: bool = False
