"""The terms of a key: what it may be used for, from where, for how much money and how fast. They are stored and sent as JSON.

None is no limit. Every size and number is bounded; a member that is not named here is an error, since a limit that is not understood
must not be taken for none.
"""

import ipaddress
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MOST_NANO = 10**18
"""A billion USD: the largest amount there is."""

Budget = Annotated[int, Meta(ge=0, le=MOST_NANO)]
"""Nano-USD."""

Rate = Annotated[int, Meta(ge=1, le=10**9)]
"""Requests or tokens a minute, or requests at a time."""

Pattern = Annotated[str, Meta(min_length=1, max_length=512)]
Patterns = Annotated[tuple[Pattern, ...], Meta(max_length=256)]
"""Names; one that ends in `*` stands for all names with that beginning."""

Addresses = Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=64)], ...], Meta(max_length=256)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
Labels = Annotated[dict[Label, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
Tags = Annotated[tuple[Label, ...], Meta(max_length=64)]

ENDPOINTS = (
    *("chat", "completions", "embeddings", "rerank", "responses", "messages", "generate", "count"),
    *("stored_completions", "feedback", "files", "fine_tuning", "models"),
)
"""What a key may be for, as the ledger names it; Google's generateContent is `generate`, its countTokens `count`. The second line is what
callers keep: stored chats, feedback, files, jobs, and the models that came of them."""

WINDOWS = ("daily", "weekly", "monthly", "total")
"""Budgets, by their windows: the UTC day, the ISO week, the calendar month, all time."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The terms of one key. Errors: ValueError for an address that is none, ValidationError where JSON does not fit.

    `models`, `endpoints` (as the ledger names them) and `routes` list what the key is for; `ips` addresses and networks that it may come
    from. `rpm` and `tpm` are requests and tokens a minute, of which `burst` requests may come at once; `parallel` requests may run at once.
    `retention` "none": of its requests nothing is kept but the bill, whatever they say themselves.
    """

    models: Patterns | None = None
    endpoints: Patterns | None = None
    routes: Patterns | None = None
    ips: Addresses | None = None
    daily_nano: Budget | None = None
    weekly_nano: Budget | None = None
    monthly_nano: Budget | None = None
    total_nano: Budget | None = None
    rpm: Rate | None = None
    tpm: Rate | None = None
    parallel: Rate | None = None
    burst: Rate | None = None
    retention: Literal["none"] | None = None
    metadata: Labels = {}
    tags: Tags = ()

    def __post_init__(self) -> None:
        for address in self.ips or ():
            ipaddress.ip_network(address, strict=False)

    @property
    def budgets(self) -> dict[str, int]:
        """Nano-USD by window, of those that are limited."""
        amounts = (self.daily_nano, self.weekly_nano, self.monthly_nano, self.total_nano)
        return {window: nano for window, nano in zip(WINDOWS, amounts, strict=True) if nano is not None}

    @property
    def limits_rate(self) -> bool:
        """Whether requests, tokens or parallel requests are counted."""
        return self.rpm is not None or self.tpm is not None or self.parallel is not None


def unknown_endpoint(patterns: tuple[str, ...] | None) -> str | None:
    """The first of these that is no endpoint, and no beginning of one's name; a key that is for nothing was meant otherwise."""
    return next((one for one in patterns or () if not any(covers((one,), name) for name in ENDPOINTS)), None)


def covers(patterns: tuple[str, ...] | None, name: str) -> bool:
    """Whether a name is among these patterns; None is all names."""
    if patterns is None:
        return True
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)


def burst_requests(terms: Terms) -> int:
    """How many requests a key may send at once, where its requests a minute are limited: two seconds' worth, at least five."""
    return terms.burst or max(5, (terms.rpm or 0) // 30)


def burst_tokens(terms: Terms) -> int:
    """How many tokens a key may use at once, where its tokens a minute are limited.

    Two seconds' worth, but at least 5,000 or, where a minute has fewer, a minute's: a request of usual size must fit.
    """
    tpm = terms.tpm or 0
    return max(tpm // 30, min(tpm, 5_000))
