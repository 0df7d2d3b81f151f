"""The receipt's shape: the `shoal` member of every answer."""

import msgspec

from shoal.core.usage import Usage

NOTHING = msgspec.Raw(b"")


class ReceiptAttempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One try. `cost_usd` is there where a try cost something besides the answer that the caller got."""

    provider: str
    model: str
    ms: float
    error: str | None = None
    status: int | None = None
    cost_usd: msgspec.Raw = NOTHING
    continued: bool = False
    why: str = ""


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The `shoal` member of every answer. Times are milliseconds; `cost_usd` is null when a price or a count is not known.

    `charged_usd` is what the caller pays, where that is not the cost; `excess_usd` what was not held before, and so is not charged.
    """

    id: str
    requested: str | None
    model: str | None
    provider: str | None
    policy: str | None
    attempts: list[ReceiptAttempt]
    cost_usd: msgspec.Raw
    usage: Usage
    overhead_ms: float
    first_byte_ms: float | None
    duration_ms: float
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    excluded: tuple[str, ...]
    charged_usd: msgspec.Raw = NOTHING
    excess_usd: msgspec.Raw = NOTHING
