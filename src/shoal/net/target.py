"""Where an upstream is and how to get there: TLS verified against the system's authorities, proxies as the environment says.

Errors here are configuration errors (ValueError naming what is wrong), found at start, not at the first request.
"""

import base64
import functools
import ipaddress
import ssl
import urllib.request
from urllib.parse import unquote, urlsplit

import msgspec


class Proxy(msgspec.Struct, frozen=True):
    """A forward proxy: its address and the value of Proxy-Authorization, if it wants one."""

    host: str
    port: int
    authorization: str | None = None


class Target(msgspec.Struct, frozen=True):
    """An origin and a path prefix. `uds` is set for `unix:` addresses; `authority` is the Host header's value."""

    tls: bool
    host: str
    port: int
    prefix: str
    authority: str
    uds: str | None = None
    proxy: Proxy | None = None


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The one client context: verification on, hostnames checked, TLS 1.2 or newer, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # said here, because a machine without openssl.cnf does not
    context.set_alpn_protocols(["http/1.1"])
    return context


def parse_target(base_url: str) -> Target:
    """A target from `http(s)://host[:port][/prefix]` or `unix:/path/to/socket`. Errors: ValueError saying what is wrong."""
    if base_url.startswith("unix:"):
        path = base_url.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"{base_url!r} must name an absolute socket path, as in unix:/run/shoal/mini.sock")
        return Target(tls=False, host="localhost", port=0, prefix="/v1", authority="localhost", uds=path)
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{base_url!r} is not a URL of the form https://host[:port]/path")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{base_url!r} must not carry credentials, a query or a fragment; put the key into api_key_env")
    if any(ord(character) <= 32 or ord(character) > 126 for character in base_url):
        raise ValueError(f"{base_url!r} has characters that a URL may not have")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if parts.port is None else f"{host}:{port}"
    return Target(tls, parts.hostname, port, parts.path.rstrip("/"), authority, proxy=_proxy_for(parts.scheme, parts.hostname, port))


def _proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case; never for a loopback address, which a proxy cannot reach."""
    if host == "localhost" or _is_loopback(host) or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"the proxy {url!r} must be an http:// address")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
