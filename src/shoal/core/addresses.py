"""Addresses of callers, and the networks that they may come from."""

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(4096)
def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A peer's address; None where it is none, as on a Unix socket."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of these networks."""
    known = address_of(address)
    return known is not None and any(known in network for network in networks)
