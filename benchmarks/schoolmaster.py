"""A teacher that knows its answers by heart: `python benchmarks/schoolmaster.py PORT ANSWERS.json`, an OpenAI-compatible model server.

ANSWERS.json maps the text of a last message to what is answered. Tokens are counted as gpt-4o would count them, so that its price can be
put on them. What it does not know it answers with 404.
"""

import asyncio
import json
import sys
from pathlib import Path

import httptools
import uvloop

from shoal.tokens.encodings import count_texts

HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
MODELS = {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "openai"}]}
PER_MESSAGE = 4


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: dict[str, str]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""

    def data_received(self, data: bytes) -> None:
        """More of it."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Which path."""
        self._url = url

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        body, self._body = self._body, b""
        status, answer = (200, MODELS) if self._url.endswith(b"/models") else answer_to(json.loads(body), self._answers)
        data = json.dumps(answer).encode()
        self._transport.write(HEAD % (status, len(data), data))  # type: ignore[attr-defined]


def answer_to(question: dict[str, object], answers: dict[str, str]) -> tuple[int, dict[str, object]]:
    """Status and body."""
    messages: list[dict[str, str]] = question["messages"]  # type: ignore[assignment]
    text = answers.get(messages[-1]["content"])
    if text is None:
        return 404, {"error": {"message": "I was not taught this.", "type": "invalid_request_error", "code": "unknown", "param": None}}
    *counts, said = count_texts([*(message["content"] for message in messages), text], "o200k_base")
    read = sum(counts) + PER_MESSAGE * len(counts) + 3
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}
    return 200, {
        "id": "chatcmpl-school",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [choice],
        "usage": usage,
    }


async def serve(port: int, answers: dict[str, str]) -> None:
    """Until it is killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Caller(answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
