"""Opening a connection to a target: directly, over a Unix socket, or through a forward proxy (CONNECT, RFC 9110, 9.3.6)."""

import asyncio

from shoal.core.errors import Fault
from shoal.net.target import Target, tls_context
from shoal.net.upstream import Home, Upstream

_HEAD_LIMIT = 64 * 1024


async def connect(home: Home, target: Target, loop: asyncio.AbstractEventLoop) -> Upstream:
    """A fresh connection to a target, through its proxy if it has one. Errors: OSError, ssl.SSLError, Fault."""
    if target.uds is not None:
        _, connection = await loop.create_unix_connection(lambda: Upstream(home, loop), target.uds)
        return connection
    context = tls_context() if target.tls else None
    if target.proxy is not None and target.tls:
        return await _tunnel(home, target, loop)
    host, port = (target.proxy.host, target.proxy.port) if target.proxy else (target.host, target.port)
    _, connection = await loop.create_connection(lambda: Upstream(home, loop), host, port, ssl=context)
    return connection


class _Tunnel(asyncio.Protocol):
    """The CONNECT exchange with a proxy (RFC 9110, 9.3.6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[bytes] = loop.create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (b"\r\n\r\n" in self._received or len(self._received) > _HEAD_LIMIT) and not self.opened.done():
            self.opened.set_result(self._received.split(b"\r\n", 1)[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(b"connection closed")


async def _tunnel(home: Home, target: Target, loop: asyncio.AbstractEventLoop) -> Upstream:
    proxy = target.proxy
    assert proxy is not None
    transport, tunnel = await loop.create_connection(lambda: _Tunnel(loop), proxy.host, proxy.port)
    authority = f"{target.host}:{target.port}" if ":" not in target.host else f"[{target.host}]:{target.port}"
    authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    transport.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n".encode())
    try:
        status = await tunnel.opened
        if status.split(b" ")[1:2] != [b"200"]:
            said = status[:100].decode("latin-1")
            raise Fault("upstream_unreachable", f"The proxy {proxy.host}:{proxy.port} refused a tunnel to {authority}: {said}.")
        connection = Upstream(home, loop)
        transport.set_protocol(connection)
        secure = await loop.start_tls(transport, connection, tls_context(), server_hostname=target.host)
        assert secure is not None
        connection.connection_made(secure)
    except BaseException:
        transport.abort()
        raise
    return connection
