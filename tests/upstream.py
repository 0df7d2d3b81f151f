"""A scripted upstream: real sockets, a thread for each connection, and for every model the exact bytes to answer with.

A test names a model of its own, says what is played for it, and asks for `up/MODEL`; so tests may share one server and one upstream.
"""

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_S = 30.0
CERTIFICATES = Path(__file__).with_name("certificates")
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class Received(NamedTuple):
    """A request as it arrived."""

    line: bytes
    headers: dict[bytes, bytes]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class Line:
    """The upstream's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.open = True
        self._unread = b""

    def receive(self) -> Received | None:
        """The next request, or None when the peer is done."""
        while b"\r\n\r\n" not in self._unread:
            if not self._more():
                return None
            if self._unread.startswith(b"\x16"):  # TLS, which this port does not speak
                self.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                return None
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        length = int(headers.get(b"content-length", b"0"))
        while len(self._unread) < length:
            if not self._more():
                return None
        body, self._unread = self._unread[:length], self._unread[length:]
        return Received(line, headers, body, time.monotonic())

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except OSError:
            return False
        self._unread += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Exactly these bytes; a peer that is gone is no error."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def close(self) -> None:
        """End the connection in order."""
        self.open = False
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        """End the connection with a RST."""
        self.open = False
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_gone(self) -> float:
        """When the peer closed its end; fails after PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.socket], [], [], deadline - time.monotonic())
            try:
                if readable and not self.socket.recv(65536):
                    return time.monotonic()
            except OSError:
                return time.monotonic()
        raise AssertionError("the gateway kept the connection")


Script = Callable[[Line, Received], None]


def head(status: int = 200, headers: str = "", *, kind: str = "application/json", framing: str = "") -> bytes:
    """The head of an answer; `framing` and `headers` are whole lines."""
    return f"HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\n{framing}{headers}\r\n".encode("latin-1")


def whole(body: Any, status: int = 200, headers: str = "", kind: str = "application/json") -> bytes:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, headers, kind=kind, framing=f"content-length: {len(data)}\r\n") + data


def says(data: bytes) -> Script:
    """Sends these bytes and keeps the connection."""
    return lambda line, request: line.send(data)


def completion(text: str = "Hello.", usage: dict[str, Any] | None = USAGE, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream", "choices": [choice], "usage": usage, **more}


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % (value if isinstance(value, bytes) else json.dumps(value).encode())


def delta(text: str | None, finish: str | None = None, **more: Any) -> bytes:
    """A chunk with some text."""
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "upstream", "choices": [choice], **more})


DONE = event(b"[DONE]")
LAST = event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "upstream", "choices": [], "usage": USAGE})
EVENTS = (delta("Hel"), delta("lo."), delta(None, "stop"), LAST, DONE)
STREAM_HEAD = head(kind="text/event-stream", framing="transfer-encoding: chunked\r\n")


def chunked(pieces: Sequence[bytes]) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def stream(events: Sequence[bytes] = EVENTS) -> bytes:
    """A whole streaming answer."""
    return STREAM_HEAD + chunked(events)


def default(line: Line, request: Received) -> None:
    """A friendly server: what most tests need."""
    line.send(stream() if request.json.get("stream") else whole(completion()))


def certified(name: str) -> ssl.SSLContext:
    """A server's context with one of the certificates beside this file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    return context


class Upstream:
    """Listens on a free port of the loopback, with TLS if a context is given; as a proxy it is asked for a tunnel first, and is its end."""

    def __init__(self, context: ssl.SSLContext | None = None, proxy: bool = False) -> None:
        self._context = context
        self._proxy = proxy
        self.tunnels: list[Received] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._scripts: dict[str, list[Script]] = {}
        self._every: Script | None = None
        self._received: defaultdict[str, list[Received]] = defaultdict(list)
        self._lock = threading.Lock()
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def play(self, model: str, *scripts: Script) -> None:
        """What the requests for a model get, one script each; the last one is for all that follow."""
        self._scripts[model] = list(scripts)

    def play_all(self, script: Script) -> None:
        """What every request gets, whatever it asks for and wherever."""
        self._every = script

    def received(self, model: str) -> list[Received]:
        """The requests for a model so far."""
        return list(self._received[model])

    def close(self) -> None:
        """Accept no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        if self._proxy and not self._open_tunnel(sock):
            return
        if self._context is not None:
            try:
                sock = self._context.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                return
        line = Line(sock)
        while line.open and (request := line.receive()) is not None:
            self._choose(request)(line, request)
        line.close()

    def _open_tunnel(self, sock: socket.socket) -> bool:
        """The CONNECT exchange; to refused.test there is no way."""
        line = Line(sock)
        asked = line.receive()
        if asked is None:
            return False
        self.tunnels.append(asked)
        if b"refused.test" in asked.line:
            line.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            line.close()
            return False
        line.send(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
        return True

    def _choose(self, request: Received) -> Script:
        if self._every is not None:
            return self._every
        try:
            model = request.json["model"]
        except (ValueError, KeyError, TypeError):
            return says(whole({"object": "list", "data": []}))
        with self._lock:
            self._received[model].append(request)
            scripts = self._scripts.get(model, [default])
            return scripts.pop(0) if len(scripts) > 1 else scripts[0]
