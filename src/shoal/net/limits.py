"""How much a caller may send, and for how long; what is said to one who sends more; and how long an upstream may take."""

import msgspec

from shoal.core.errors import Fault


class Limits(msgspec.Struct, frozen=True):
    """Bounds on what a caller may make us keep, and for how long."""

    header_bytes: int = 64 * 1024
    body_bytes: int = 32 * 1024 * 1024
    connections: int = 10_000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    # unsent bytes of one connection above which the upstream is no longer read
    write_buffer_bytes: int = 256 * 1024
    # a refused request's body up to this size is read and thrown away, so that the caller surely sees the refusal
    discard_bytes: int = 1024 * 1024
    linger_s: float = 2.0


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds to wait for a connection, for the first byte of an answer, between two of its bytes, and for all of it."""

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0


def head_too_large(limit: int) -> Fault:
    """More than `limit` bytes of headers."""
    return Fault("headers_too_large", f"The request's headers exceed {limit} bytes; send fewer.")


def body_too_large(limit: int) -> Fault:
    """More than `limit` bytes of body."""
    return Fault("body_too_large", f"The request body exceeds this server's limit of {limit / 2**20:g} MiB; send a smaller one.")
