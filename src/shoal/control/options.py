"""What the admin API is told of its surroundings when it is put together."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """`stripe_secret` proves what Stripe sends, None where none is configured; `flush` folds what journals still hold into the store;
    `most_body_bytes` is what a caller may send at once. `require_base` raises Fault for a model that no job may begin with, `most_jobs` is
    how many jobs of a project may be open; `home` holds this machine's students."""

    flush: Callable[[], Awaitable[None]]
    stripe_secret: bytes | None = None
    most_body_bytes: int = 32 * 1024 * 1024
    require_base: Callable[[str], None] = lambda model: None
    most_jobs: int = 10
    home: Path | None = None
