"""What one request left behind: the journal's line, the ledger's row.

A line is a JSON array in the order of the fields below. Fields are only ever added at the end, with a default, so that lines written by
an older release stay readable. Bounds keep what an upstream may report inside a signed 64-bit column, sums included.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**40)]
"""Tokens or attempts of one request."""

Nano = Annotated[int, Meta(ge=0, le=2**53)]
"""Nano-USD of one request."""

Micros = Annotated[int, Meta(ge=0, le=2**48)]
"""A duration in microseconds."""

Millis = Annotated[int, Meta(ge=0, le=2**48)]
"""A moment: milliseconds since 1970, UTC."""

NO_RECEIPT = msgspec.Raw(b"null")


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One request, whatever became of it. `receipt` is the JSON object the caller may ask for again; texts that are not known are empty.

    Token counts and cost are None when not reported or not known, which is not the same as 0. `charged_nano` is what the organisation
    pays, None where nothing is counted; it was held in `lease`. `user_id` is the caller's own name for whom it asks.
    """

    request_id: str
    at_ms: Millis
    key_id: str
    endpoint: str
    requested_model: str
    model: str
    provider: str
    deployment: str
    status: Annotated[int, Meta(ge=100, le=999)]
    stream: bool
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cost_nano: Nano | None = None
    attempts: Count = 0
    overhead_us: Micros = 0
    first_token_us: Micros | None = None
    duration_us: Micros = 0
    error_code: str | None = None
    receipt: msgspec.Raw = NO_RECEIPT
    lease: str = ""
    charged_nano: Nano | None = None
    org_id: str = ""
    project_id: str = ""
    user_id: str = ""
