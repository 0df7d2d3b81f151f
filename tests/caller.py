"""A caller with a raw socket: sends exactly these bytes, and reads answers strictly."""

import contextlib
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

PATIENCE_S = 30.0
CHAT = "/v1/chat/completions"


class Answer(NamedTuple):
    """One answer; `cut` says that the connection ended before the answer was complete."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, checked to have OpenAI's shape."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        return dict(error)

    @property
    def events(self) -> list[bytes]:
        """The data of a stream's events."""
        return [part[6:] for part in self.body.split(b"\n\n") if part.startswith(b"data: ")]


class Caller:
    """One connection to a server."""

    def __init__(self, port: int, key: str = "", receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.key = key
        self.unread = b""

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Exactly these bytes; a server that has hung up is no error, its answer says more."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def ask(self, body: Any, path: str = CHAT, headers: Mapping[str, str] | None = None) -> "Answer":
        """A POST and its answer."""
        self.send(request(self.key, body, path, headers))
        return self.answer()

    def answer(self, *, interim: bool = False) -> Answer:
        """The next answer. Interim ones are passed over unless asked for."""
        while True:
            while b"\r\n\r\n" not in self.unread:
                if not self._more():
                    return Answer(0, {}, self.unread, cut=True)
            head, _, self.unread = self.unread.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            version, status, _ = line.split(" ", 2)
            assert version == "HTTP/1.1"
            if int(status) >= 200 or interim:
                break
        headers: dict[str, str] = {}
        for field in fields:
            name, colon, value = field.partition(": ")
            assert colon, field
            assert name not in headers, f"{name} comes twice"
            headers[name] = value
        if int(status) < 200:
            return Answer(int(status), headers, b"")
        body, cut = self._body(headers)
        return Answer(int(status), headers, body, cut)

    def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        if "transfer-encoding" in headers:
            assert "content-length" not in headers
            return self._chunks()
        if "content-length" in headers:
            body, cut = self._take(int(headers["content-length"]))
            return body, cut
        while self._more():
            pass
        body, self.unread = self.unread, b""
        return body, False

    def _chunks(self) -> tuple[bytes, bool]:
        body = bytearray()
        while True:
            while b"\r\n" not in self.unread:
                if not self._more():
                    return bytes(body), True
            size, _, self.unread = self.unread.partition(b"\r\n")
            data, cut = self._take(int(size, 16) + 2)
            if cut:
                return bytes(body + data), True
            assert data.endswith(b"\r\n")
            if size == b"0":
                return bytes(body), False
            body += data[:-2]

    def _take(self, size: int) -> tuple[bytes, bool]:
        while len(self.unread) < size:
            if not self._more():
                return self.unread, True
        data, self.unread = self.unread[:size], self.unread[size:]
        return data, False

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            return False
        self.unread += data
        return bool(data)

    def closed(self) -> bool:
        """Whether the server has ended the connection, with nothing more to say; waits for that."""
        while self._more():
            pass
        return not self.unread


def request(key: str, body: Any, path: str = CHAT, headers: Mapping[str, str] | None = None, method: str = "POST") -> bytes:
    """A request's bytes; a header of "" is left out."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "host": "gateway.test",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(data)),
    }
    fields |= headers or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value != "")
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + data


def chat(model: str, **more: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def get(key: str, path: str) -> bytes:
    """A GET's bytes."""
    return request(key, b"", path, {"content-type": "", "content-length": ""}, "GET")
