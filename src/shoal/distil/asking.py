"""Asking models of the gateway over HTTP, as any caller does: what a teacher says is metered, limited and paid like everything else.

Many questions may be asked at once, from threads; each has a connection of its own for as long as it is good. An answer says what it cost.
"""

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from shoal.core.money import nano_from_usd
from shoal.distil.rows import Message

CONNECT_S, READ_S = 10.0, 600.0


class Said(msgspec.Struct, frozen=True):
    """An answer, what it cost (None: not known), and its mean log probability a token, where the model tells."""

    text: str
    cost_nano: int | None = None
    logprob: float | None = None
    model: str = ""
    provider: str = ""


class Away(Exception):
    """Nobody answers just now, or is too busy: worth asking again later. `status` is None where there was no answer at all; `sent`: the
    question had left all the same, so it may have been answered and charged."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None, sent: bool = False) -> None:
        super().__init__(message)
        self.status, self.retry_after_s, self.sent = status, retry_after_s, sent


class Refused(Exception):
    """The gateway, or the model behind it, does not answer this, whoever asks again. `code` is OpenAI's."""

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Gateway:
    """A gateway at `url` (without its /v1), asked with `key`. `authority`: a file with the certificate that it shows, if it is its own."""

    def __init__(self, url: str, key: str, authority: str = "", at_once: int = 16) -> None:
        self._url, self._key = urlsplit(url), key
        self._context = _trust(authority) if self._url.scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        self._threads = ThreadPoolExecutor(at_once, "ask")

    async def ask(self, model: str, messages: Sequence[Message], **more: Any) -> Said:
        """One answer. Errors: Away, Refused."""
        body = {"model": model, "messages": list(messages), **more}
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, body)

    async def find_price(self, model: str) -> tuple[str, str] | None:
        """USD a token, of a prompt and of an answer, as /v1/models tells them; None: not known. Errors: Away, Refused."""
        told = await asyncio.get_running_loop().run_in_executor(self._threads, self._get, f"/models/{quote(model)}")
        pricing: Any = told.get("pricing")
        try:
            return str(pricing["prompt"]), str(pricing["completion"])
        except (KeyError, TypeError):
            return None

    def close(self) -> None:
        """End the threads and the connections."""
        self._threads.shutdown(cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def _ask(self, body: Mapping[str, Any]) -> Said:
        return _read(self._send("POST", "/chat/completions", json.dumps(body).encode()))

    def _get(self, path: str) -> dict[str, Any]:
        told = json.loads(self._send("GET", path, None))
        return told if isinstance(told, dict) else {}

    def _send(self, method: str, path: str, data: bytes | None) -> bytes:
        """The body of a good answer. Errors: Away, Refused."""
        try:
            status, headers, answer = self._exchange(method, path, data)
        except (OSError, http.client.HTTPException) as error:
            raise Away(f"the gateway does not answer: {error or type(error).__name__}") from None
        if status == 200:
            return answer
        told = _error(answer)
        message = str(told.get("message") or f"status {status}")
        if status in (408, 409, 425, 429) or status >= 500:
            raise Away(message, status, _seconds(headers.get("retry-after")))
        raise Refused(message, status, str(told.get("code") or ""))

    def _exchange(self, method: str, path: str, data: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        while True:
            try:
                connection, fresh = self._idle.pop(), False
            except IndexError:
                connection, fresh = self._connect(), True
            try:
                headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
                connection.request(method, f"{self._url.path.rstrip('/')}/v1{path}", data, headers)
                response = connection.getresponse()
                read = response.status, response.headers, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if fresh or not isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                    raise
                continue  # a kept connection had ended
            if response.will_close:
                connection.close()
            else:
                self._idle.append(connection)
            return read

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "127.0.0.1", self._url.port
        if self._context is not None:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=self._context)
        else:
            made = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        try:
            made.connect()
        except OSError as error:
            raise _gone(error) from None
        made.sock.settimeout(READ_S)
        return made


def _gone(error: Exception, sent: bool = False) -> Away:
    return Away(f"the gateway does not answer: {error or type(error).__name__}", sent=sent)


def _trust(authority: str) -> ssl.SSLContext:
    """This very certificate, whatever name it bears: the server is on this machine."""
    context = ssl.create_default_context(cafile=authority or None)
    if authority:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


def _read(answer: bytes) -> Said:
    try:
        body = json.loads(answer)
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        cost = (body.get("usage") or {}).get("cost")
        told = [token["logprob"] for token in ((choice.get("logprobs") or {}).get("content") or ())]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Away("the gateway answered with something that is no chat completion") from None
    logprob = sum(told) / len(told) if told else None
    receipt = body.get("shoal") or {}
    who = [str(receipt.get(name) or body.get(name) or "") for name in ("model", "provider")]
    return Said(text, None if cost is None else nano_from_usd(str(cost)), logprob, *who)


def _error(answer: bytes) -> dict[str, Any]:
    try:
        error = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
