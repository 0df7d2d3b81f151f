"""One upstream: its connections, its key, its timeouts, and the head of every request to it, made once."""

from collections.abc import Mapping

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.net.client import Pool
from shoal.net.target import Target
from shoal.net.upstream import Response, Timeouts

PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}


class Channel:
    """Requests to one upstream."""

    def __init__(
        self, target: Target, api_key: str | None, timeouts: Timeouts, max_connections: int, missing_key: str | None = None
    ) -> None:
        self._pool = Pool(target, max_connections)
        self._timeouts = timeouts
        self._missing_key = missing_key
        authorization = f"authorization: Bearer {api_key}\r\n" if api_key else ""
        # through a plain proxy the request line names the whole address (RFC 9112, 3.2.2)
        origin = f"http://{target.authority}" if target.proxy and not target.tls else ""
        self._origin = origin
        self._prefix = target.prefix
        self._fields = f"host: {target.authority}\r\n{authorization}accept-encoding: identity\r\n"
        if target.proxy and not target.tls and target.proxy.authorization:
            self._fields += f"proxy-authorization: {target.proxy.authorization}\r\n"
        self._heads = {
            endpoint: f"POST {origin}{target.prefix}{path} HTTP/1.1\r\n{self._fields}content-type: application/json\r\n".encode("latin-1")
            for endpoint, path in PATHS.items()
        }

    async def post(self, endpoint: str, body: bytes) -> Response:
        """Send a request's body to an endpoint of PATHS and wait for the answer's head. Errors: Fault."""
        if self._missing_key is not None:
            raise Fault("upstream_auth", f"No key for this provider: set the environment variable {self._missing_key} and restart.")
        return await self._pool.send(self._heads[endpoint], body, self._timeouts)

    async def get(self, path: str, timeout_s: float, *, at_root: bool = False) -> tuple[int, bytes]:
        """Status and body of a GET below the base URL, or below the server's root. Errors: Fault."""
        head = f"GET {self._origin}{'' if at_root else self._prefix}{path} HTTP/1.1\r\n{self._fields}".encode("latin-1")
        limits = Timeouts(min(timeout_s, self._timeouts.connect_s), timeout_s, timeout_s, timeout_s)
        response = await self._pool.send(head, b"", limits)
        try:
            return response.status, await response.read()
        finally:
            response.close()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class Channels(msgspec.Struct, frozen=True):
    """All upstreams by their provider's name."""

    by_provider: Mapping[str, Channel]

    async def send(self, deployment: Deployment, endpoint: str, body: bytes) -> Response:
        """Send a request to a deployment's upstream. Errors: Fault."""
        channel = self.by_provider.get(deployment.provider)
        if channel is None:
            raise Fault("upstream_unreachable", f"The provider {deployment.provider!r} is not configured.")
        return await channel.post(endpoint, body)

    def close(self) -> None:
        """Close every connection to every upstream."""
        for channel in self.by_provider.values():
            channel.close()
