"""How a deployment has done of late, as policies see it."""

import msgspec


class Health(msgspec.Struct, frozen=True):
    """Times are seconds. None: nothing is known yet.

    `available` is False while its circuit is open, or half open with the probe under way. `outage_age_s` is the time since its last
    failure that was its own. `first_token_s` is a peak-sensitive moving average; `tokens_per_s` one of single answers.
    """

    available: bool = True
    outage_age_s: float | None = None
    first_token_s: float | None = None
    first_token_p95_s: float | None = None
    tokens_per_s: float | None = None
    in_flight: int = 0
