"""Ids and moments of what is stored."""

import base64
import secrets
import time


def new_id(prefix: str) -> str:
    """80 random bits in 16 characters of lower-case letters and digits, after a prefix that says of what."""
    return prefix + base64.b32encode(secrets.token_bytes(10)).decode().lower()


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
