"""One upstream: its connections, its keys, its timeouts, its few differences from its dialect, and the head of every request to it.

Heads are made once for each path and key. A key that meets a rate limit rests while the others carry on. What must be signed is signed
by whatever `sign` is given, when the call is whole.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

import msgspec

from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.net.client import Pool
from shoal.net.limits import Timeouts
from shoal.net.target import parse_target
from shoal.net.upstream import Heard, Response
from shoal.providers.credentials import KeyRing, header_of
from shoal.providers.prefill import begin
from shoal.providers.quirks import apply_quirks
from shoal.providers.registry import Provider
from shoal.providers.rest import rest_s
from shoal.wire import dialects

_MOST_HEADS = 2048
_REST_S, _LONGEST_REST_S = 10.0, 3600.0  # of a key after a 429: where the upstream does not say, and at most


class Sign(Protocol):
    """Proves who asks where that takes more than a key: header lines for one call, made for its address and body."""

    def __call__(self, method: str, url: str, body: bytes) -> Awaitable[Sequence[tuple[str, str]]]:
        """Names and values. Errors: Fault upstream_auth."""


class Channel:
    """Requests to one upstream."""

    def __init__(self, provider: Provider, sign: Sign | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.provider = provider
        limits = provider.timeouts
        self._timeouts = Timeouts(limits.connect_s, limits.first_byte_s, limits.idle_s, limits.total_s)
        self._target = target = parse_target(provider.base_url)
        self._pool = Pool(target, provider.max_connections)
        self._sign = sign
        self._clock = clock
        self._keys = KeyRing(provider.keys) if provider.keys else None
        # through a plain proxy the request line names the whole address (RFC 9112, 3.2.2)
        self._origin = f"http://{target.authority}" if target.proxy and not target.tls else ""
        self._fields = f"host: {target.authority}\r\naccept-encoding: identity\r\n"
        self._fixed = {name.lower(): value for name, value in provider.quirks.header.items()}
        if target.proxy and not target.tls and target.proxy.authorization:
            self._fields += f"proxy-authorization: {target.proxy.authorization}\r\n"
        self._only_key = provider.keys[0] if len(provider.keys) == 1 else None
        quirks = provider.quirks
        self.has_quirks = bool(quirks.drop or quirks.rename or quirks.default)
        odd = self.has_quirks or provider.paths or sign or provider.missing or len(provider.keys) > 1
        self._plain = not odd  # nothing of a call depends on anything but its path: its head is made once
        self._heads: dict[str, bytes] = {}
        self._heard: dict[str, Heard] = {}

    def adapt(self, call: HttpCall) -> HttpCall:
        """The call with the provider's few differences from its dialect; what had to be left out is named in `dropped`."""
        body, dropped = apply_quirks(call.body, self.provider.quirks)
        if body is call.body:
            return call
        return msgspec.structs.replace(call, body=body, dropped=(*call.dropped, *dropped))

    def post(
        self, endpoint: str, model: str, call: HttpCall, first_byte_s: float | None = None, silence_s: float | None = None
    ) -> Awaitable[Response]:
        """Send a call and wait for the answer's head. `model` is the upstream's name for it. Errors: Fault, when awaited or at once."""
        provider, timeouts = self.provider, self._timeouts
        if first_byte_s is not None:
            timeouts = msgspec.structs.replace(timeouts, first_byte_s=min(first_byte_s, timeouts.first_byte_s))
        if self._plain and not (call.prefill or call.headers):
            head = self._heads.get(call.path)
            if head is None:
                head = self._heads[call.path] = self._make_head(call.path, self._only_key, ())
            return self._pool.send(head, call.body, timeouts, self._heard_of(model), silence_s)
        if provider.missing is not None:
            raise provider.fault()
        return self._post(self._path(endpoint, model, call), call, timeouts, self._heard_of(model), silence_s)

    async def _post(self, path: str, call: HttpCall, timeouts: Timeouts, heard: Heard, silence_s: float | None) -> Response:
        """With all that a provider may want besides."""
        body = call.body
        if call.prefill:
            body, path = begin(self.provider, body, path)
        while True:
            key = self._keys.pick(self._clock()) if self._keys is not None else None
            response = await self._send(path, key, body, call, timeouts, heard, silence_s)
            if response.status != 429 or key is None or self._keys is None:
                return response
            told = rest_s(response.headers, self.provider.rate_limits, time.time())
            if told is None:  # some say it in the body
                refused = await response.read()
                told = dialects.UPSTREAMS[self.provider.dialect].fault(429, response.headers, refused).retry_after_s
            now = self._clock()
            self._keys.cool(key, now + min(told or _REST_S, _LONGEST_REST_S))
            if not self._keys.awake(now):
                return response
            response.close()  # another key may have room

    async def _send(
        self, path: str, key: str | None, body: bytes, call: HttpCall, timeouts: Timeouts, heard: Heard, silence_s: float | None
    ) -> Response:
        head = self._make_head(path, key, tuple(name for name, _ in call.headers))
        for name, value in call.headers:
            head += f"{name}: {value}\r\n".encode("latin-1")
        if self._sign is not None:
            for name, value in await self._sign("POST", self._url(path), body):
                head += f"{name}: {value}\r\n".encode("latin-1")
        return await self._pool.send(head, body, timeouts, heard, silence_s)

    async def get(self, path: str, timeout_s: float, *, at_root: bool = False) -> tuple[int, bytes]:
        """Status and body of a GET below the base URL, or below the server's root. Errors: Fault."""
        key = self._keys.pick(self._clock()) if self._keys is not None else None
        where = f"{'' if at_root else self._target.prefix}{path}"
        lines = self._fixed_lines() + self._key_line(key)
        if self._sign is not None:
            url = f"{'https' if self._target.tls else 'http'}://{self._target.authority}{where}"
            lines += "".join(f"{name}: {value}\r\n" for name, value in await self._sign("GET", url, b""))
        head = f"GET {self._origin}{where} HTTP/1.1\r\n{self._fields}{lines}".encode("latin-1")
        limits = Timeouts(min(timeout_s, self._timeouts.connect_s), timeout_s, timeout_s, timeout_s)
        response = await self._pool.send(head, b"", limits)
        try:
            return response.status, await response.read()
        finally:
            response.close()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _heard_of(self, model: str) -> Heard:
        """What is heard of a model; those asked for first are forgotten first, since names are the callers' to make up."""
        heard = self._heard.get(model)
        if heard is None:
            if len(self._heard) >= _MOST_HEADS:
                del self._heard[next(iter(self._heard))]
            heard = self._heard[model] = Heard()
        return heard

    def _path(self, endpoint: str, model: str, call: HttpCall) -> str:
        """Where the provider has the endpoint: its own place for it, else the dialect's."""
        own = self.provider.paths.get(endpoint)
        if call.streamed:
            own = self.provider.stream_paths.get(endpoint, own)
        return call.path if own is None else own.replace("{model}", quote(model, safe="@"))

    def _make_head(self, path: str, key: str | None, without: tuple[str, ...]) -> bytes:
        where = path.removeprefix("root:") if path.startswith("root:") else self._target.prefix + path
        lines = f"{self._fields}{self._fixed_lines(without)}{self._key_line(key)}content-type: application/json\r\n"
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        return f"POST {self._origin}{where} HTTP/1.1\r\n{lines}".encode("latin-1")

    def _fixed_lines(self, without: tuple[str, ...] = ()) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self._fixed.items() if name not in without)

    def _key_line(self, key: str | None) -> str:
        header = header_of(self.provider.auth, key) if key is not None else None
        return f"{header[0]}: {header[1]}\r\n" if header is not None else ""

    def _url(self, path: str) -> str:
        where = path.removeprefix("root:") if path.startswith("root:") else self._target.prefix + path
        return f"{'https' if self._target.tls else 'http'}://{self._target.authority}{where}"


class Channels:
    """All upstreams by their provider's name."""

    def __init__(self, by_provider: Mapping[str, Channel]) -> None:
        self.by_provider = by_provider

    def adapt(self, deployment: Deployment, call: HttpCall) -> HttpCall:
        """A call in the words of the deployment's provider."""
        channel = self.by_provider.get(deployment.provider)
        return channel.adapt(call) if channel is not None and channel.has_quirks else call

    def send(
        self, deployment: Deployment, endpoint: str, call: HttpCall, first_byte_s: float | None = None, silence_s: float | None = None
    ) -> Awaitable[Response]:
        """Send a call to a deployment's upstream. Errors: Fault."""
        channel = self.by_provider.get(deployment.provider)
        if channel is None:
            raise Fault("upstream_unreachable", f"The provider {deployment.provider!r} is not configured.")
        return channel.post(endpoint, deployment.upstream_model, call, first_byte_s, silence_s)

    def close(self) -> None:
        """Close every connection to every upstream."""
        for channel in self.by_provider.values():
            channel.close()
