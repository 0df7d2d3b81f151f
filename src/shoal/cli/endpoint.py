"""A running server as the command line sees it: one blocking connection a request, over http.client.

Guarantees: whatever goes wrong is an Unavailable whose message says what to do next; closing a stream closes its connection, which
cancels the answer.
"""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0


class Unavailable(Exception):
    """The server cannot be reached or refused; the message is for the person at the terminal."""


@dataclass(frozen=True)
class Endpoint:
    """A base URL (with or without its /v1) and the key to use there."""

    url: str
    key: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unavailable(f"{self.url!r} is not an http:// or https:// URL")

    def get(self, path: str) -> Any:
        """The decoded JSON answer to GET `path` (below /v1)."""
        with self._ask("GET", path, None) as response:
            return _decode(response.read())

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The decoded JSON answer to POST `path` (below /v1)."""
        with self._ask("POST", path, body) as response:
            return _decode(response.read())

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The decoded events of a server-sent stream, without the closing [DONE]; an error event raises Unavailable."""
        with self._ask("POST", path, body) as response:
            while line := response.readline():
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                event = _decode(data)
                if "error" in event:
                    raise Unavailable(_message(event))
                yield event
        raise Unavailable("the server ended the answer early; see its log, and ask again")

    @contextmanager
    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        base = parts.path.rstrip("/")
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.connect()
            connection.sock.settimeout(READ_TIMEOUT_S)
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{base if base.endswith('/v1') else base + '/v1'}{path}", data, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Unavailable(self._refusal(response.status, response.read()))
            yield response
        except ConnectionRefusedError:
            raise Unavailable(f"nothing answers at {self.url}; start a server with `shoal serve`, or name another with --url") from None
        except TimeoutError:
            raise Unavailable(f"{self.url} did not answer in time") from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise Unavailable(f"the connection to {self.url} failed: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)

    def _refusal(self, status: int, body: bytes) -> str:
        try:
            message = _message(_decode(body))
        except Unavailable:
            message = f"{self.url} answered with status {status}; is it an OpenAI-compatible server?"
        if status == 401:
            message += "\nMake a key with `shoal keys create NAME`, then pass it: --key, or SHOAL_API_KEY in the environment."
        return message


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise Unavailable("the server's answer is not JSON; is it an OpenAI-compatible server?") from None


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message) if message else "the server reported an error without saying which"
