"""A scripted server for the commands that talk to one: real sockets, one thread a connection."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "sk-shoal-test"


class Script(ThreadingHTTPServer):
    """Answers with `pieces`; remembers the bodies it was asked with and who hung up."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pieces = ["Par", "is", "."]
        self.usage: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": 3, "cost": 0.0000012}
        self.error_event: dict[str, Any] | None = None
        self.cut = False
        self.endless = False
        self.asked: list[dict[str, Any]] = []
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Script
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def refuse(self, status: int, message: str) -> None:
        """An error in OpenAI's shape."""
        self.whole({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status)

    def whole(self, body: Any, status: int = 200) -> None:
        """A whole JSON answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, body: Any) -> None:
        """One server-sent event."""
        self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def do_GET(self) -> None:
        """The list of models."""
        self.whole({"object": "list", "data": [{"id": "minnow"}, {"id": "llama"}]})

    def do_POST(self) -> None:
        """A chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if self.headers["authorization"] != f"Bearer {KEY}":
            return self.refuse(401, "This key is not known.")
        if self.path != "/v1/chat/completions":
            return self.refuse(404, f"There is no {self.path} here.")
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(self.server.pieces)}
            return self.whole({"choices": [{"message": message, "finish_reason": "stop"}], "usage": self.server.usage})
        return self.stream()

    def stream(self) -> None:
        """The pieces, then what the script says."""
        script = self.server
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            self.event({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
            for piece in script.pieces:
                self.event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            while script.endless:
                self.event({"choices": [{"index": 0, "delta": {"content": "and on "}}]})
            if script.error_event is not None:
                self.event({"error": script.error_event})
            elif not script.cut:
                self.event({"choices": [], "usage": script.usage})
                self.chunk(b"data: [DONE]\n\n")
            self.chunk(b"")
        except (BrokenPipeError, ConnectionResetError):
            script.hung_up.set()
        self.close_connection = True


@pytest.fixture
def script() -> Iterator[Script]:
    """A scripted server, ended after the test."""
    with Script() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
