"""A small model server that can be made to fail: `python benchmarks/understudy.py PORT DOWN_S`, a parent and the child that serves.

It speaks OpenAI's chat completions, whole and streamed, and always says TEXT; given a beginning of it, it goes on from there, as vLLM's
`continue_final_message` does. As VARIED it claims to have used any number of tokens, up to `max_tokens`. SIGUSR1 makes the child
answer 429 with a Retry-After until SIGUSR2; SIGSTOP makes it stall; SIGKILL ends it, and DOWN_S later the parent forks another.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator

import httptools
import uvloop

THINK_S = 0.01
"""Until the first word of an answer, and between the pieces of a stream."""
PIECES = 4
TEXT = " ".join(f"word{number}" for number in range(40)) + "."
RETRY_AFTER_S = 1
MODEL, VARIED = "understudy", "varied"
USAGE = {"prompt_tokens": 38, "completion_tokens": 40, "total_tokens": 78}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
_BUSY = json.dumps({"error": {"message": "Too many requests.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}).encode()
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: %d\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    RETRY_AFTER_S,
    len(_BUSY),
    _BUSY,
)


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL, "choices": choices}
    return _frame(b"data: " + json.dumps({**chunk, **more}, separators=(",", ":")).encode() + b"\n\n")


def _piece(text: str) -> bytes:
    return _event([{"index": 0, "delta": {"content": text}, "finish_reason": None}])


def _whole(text: str, usage: object = USAGE) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL, "choices": [choice], "usage": usage}
    data = json.dumps(body, separators=(",", ":")).encode()
    return HEAD % (len(data), data)


def _pieces(text: str, usage: object = USAGE) -> list[bytes]:
    """A stream in PIECES pieces and its end."""
    size = -(-len(text) // PIECES) or 1  # nothing may be left to say
    pieces = [_piece(text[place : place + size]) for place in range(0, len(text), size)]
    end = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _event([], usage=usage) + _frame(b"data: [DONE]\n\n")
    return [*pieces, end + b"0\r\n\r\n"]


def _draw_usage(body: bytes, most: int) -> dict[str, int]:
    """As random as may be: a token is at least one byte."""
    read, said = random.randint(1, len(body)), random.randint(1, most)
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


ANSWER, STREAM = _whole(TEXT), _pieces(TEXT)


class Server:
    """What all connections share."""

    busy = False

    def set_busy(self, busy: bool) -> None:
        """Answer 429 from now on, or no longer."""
        self.busy = busy


class Connection(asyncio.Protocol):
    """One connection of a caller."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if self.server.busy:
            self.transport.write(BUSY)
            return
        request = json.loads(body)
        last = request["messages"][-1]
        begun = last["content"] if last["role"] == "assistant" else ""
        assert TEXT.startswith(begun), begun
        varied, rest = request["model"] == VARIED, TEXT[len(begun) :]
        usage = _draw_usage(body, request["max_tokens"]) if varied else USAGE
        usual = not begun and not varied
        if request.get("stream"):
            self.loop.call_later(THINK_S, self.stream, iter(STREAM if usual else _pieces(rest, usage)), STREAM_HEAD)
        else:
            self.loop.call_later(THINK_S, self.stream, iter((ANSWER if usual else _whole(rest, usage),)))

    def stream(self, pieces: Iterator[bytes], before: bytes = b"") -> None:
        """Write the next piece, and the others after it."""
        piece = next(pieces, None)
        if piece is not None and not self.transport.is_closing():
            self.transport.write(before + piece)
            self.loop.call_later(THINK_S, self.stream, pieces)


async def serve(port: int) -> None:
    """Serve until a signal ends it."""
    server, loop = Server(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, server.set_busy, True)
    loop.add_signal_handler(signal.SIGUSR2, server.set_busy, False)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", port, backlog=4096)
    await listening.serve_forever()


def main(port: int, down_s: float) -> None:
    """Have a child that serves, always but for `down_s` seconds after its death; SIGTERM ends both."""
    while True:
        child = os.fork()
        if not child:
            uvloop.run(serve(port))
            return

        def end(*_: object, child: int = child) -> None:
            os.kill(child, signal.SIGKILL)
            sys.exit()

        signal.signal(signal.SIGTERM, end)
        os.waitpid(child, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(down_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
