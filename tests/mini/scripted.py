"""An engine that says what a test tells it to, token by token, and a client for a real Unix socket."""

import asyncio
import json
import math
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.server import ServerState

from shoal.mini.door import MiniDoor
from shoal.mini.engine import BadGrammar, Capabilities, Full, Piece
from shoal.mini.served import ServedChat, ServedEmbedder
from shoal.net import host
from shoal.net.limits import Limits
from shoal.net.private import listen
from shoal.net.recall import Memory
from shoal.net.server import Connection

SPECIALS = ["<|im_start|>", "<|im_end|>", "<|x<|im_start|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CAN = Capabilities(context_tokens=4096, chosen_logprobs=True, json_schema=True)


class ByteTokenizer:
    """One token a byte; special tokens above 255."""

    special_tokens = SPECIALS
    size = 256 + len(SPECIALS)

    def encode(self, text):
        tokens, at = [], 0
        while at < len(text):
            special = next((s for s in SPECIALS if text.startswith(s, at)), None)
            tokens += [256 + SPECIALS.index(special)] if special else list(text[at].encode())
            at += len(special or text[at])
        return tokens

    def decode_bytes(self, tokens):
        return bytes(token for token in tokens if token < 256)

    def show(self, tokens):
        """Tokens as text, control tokens in double brackets."""
        out = b"".join(bytes([t]) if t < 256 else f"[[{SPECIALS[t - 256]}]]".encode() for t in tokens)
        return out.decode("utf-8", "replace")


class ScriptedRun:
    """A run that plays its tokens one event loop turn at a time, or waits for the test to `play` it."""

    def __init__(self, engine, prompt, sampling, sink, answer):
        self.engine, self.prompt, self.sampling, self.sink = engine, prompt, sampling, sink
        self.tokens = list(answer.encode()) if isinstance(answer, str) else list(answer)
        self.cancelled = self.ended = False
        self.said = 0

    def play(self, count=1):
        """Say the next `count` tokens, in one piece."""
        if self.ended:
            return
        room = self.sampling.max_tokens - self.said
        tokens = self.tokens[self.said : self.said + min(count, room)]
        self.said += len(tokens)
        finish = "length" if len(tokens) == room else "stop" if self.said == len(self.tokens) else None
        self.end(Piece(tokens, [-0.5] * len(tokens) if self.sampling.logprobs else (), finish, cached_tokens=self.engine.cached_tokens))

    def end(self, piece):
        self.ended = piece.finish is not None
        if self.ended:
            self.engine.live.discard(self)
        self.sink(piece)

    def play_on(self):
        if not self.ended:
            self.play()
            asyncio.get_running_loop().call_soon(self.play_on)

    def cancel(self):
        self.cancelled = True
        if not self.ended:
            asyncio.get_running_loop().call_soon(lambda: self.ended or self.end(Piece(finish="cancelled")))


class ScriptedEngine:
    """`answer(prompt as text, sampling)` says what each run says; with `hold`, runs wait for the test."""

    def __init__(self, answer=lambda prompt, sampling: "Hello!", *, can=CAN, hold=False, slots=64, template=TEMPLATE):
        self.answer, self.capabilities, self.hold, self.slots = answer, can, hold, slots
        self.tokenizer, self.chat_template, self.named_tokens = ByteTokenizer(), template, {"bos_token": "<s>", "eos_token": "</s>"}
        self.runs, self.live, self.checked = [], set(), []
        self.cached_tokens = None
        self.submitted = asyncio.Event()

    @property
    def running(self):
        return len(self.live)

    @property
    def waiting(self):
        return 0

    def check(self, json_schema):
        self.checked.append(json_schema)
        if "forbidden" in json_schema:
            raise BadGrammar("the keyword 'forbidden' is not supported")

    def submit(self, prompt, sampling, sink):
        if len(self.live) >= self.slots:
            raise Full(2.5)
        run = ScriptedRun(self, prompt, sampling, sink, self.answer(self.tokenizer.show(prompt), sampling))
        self.runs.append(run)
        self.live.add(run)
        self.submitted.set()
        if not self.hold:
            asyncio.get_running_loop().call_soon(run.play_on)
        return run

    def close(self):
        self.live.clear()


class ScriptedEmbedder:
    """Vectors that tell their texts apart: the first number grows with the text's length."""

    dimensions, context_tokens, size = 4, 32, 256

    def __init__(self):
        self.batches = []

    def encode(self, text):
        return [1, *text.encode(), 2]

    def pieces(self, text):
        return list(text)

    def embed(self, texts):
        self.batches.append(len(texts))
        raw = [[float(len(text)), 1.0, 2.0, 3.0] for text in texts]
        return [[x / math.hypot(*v) for x in v] for v in raw]


async def until(check):
    """Let the event loop turn until `check()` holds: what is waited for happens in another process or thread, or in the kernel."""
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0)


class Client:
    """HTTP over the mini's socket, one connection a request."""

    def __init__(self, path):
        self.path = path

    async def open(self, method, target, body=None):
        """Send a request: (status, headers, reader, writer)."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        writer.write(
            f"{method} {target} HTTP/1.1\r\nhost: mini\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n".encode() + data
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        return int(head[0].split()[1]), headers, reader, writer

    async def ask(self, target, body=None, method=None):
        """A whole answer: (status, headers, JSON)."""
        status, headers, reader, writer = await self.open(method or ("GET" if body is None else "POST"), target, body)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return status, headers, json.loads(data)

    async def stream(self, target, body):
        """All events of a stream, decoded; [DONE] as a string."""
        status, headers, reader, writer = await self.open("POST", target, body | {"stream": True})
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert status == 200, data
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        return [json.loads(event) if event != "[DONE]" else event for event in split_events(dechunk(data))]


def dechunk(data):
    """The body of a chunked answer, which must be whole."""
    out, at = b"", 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        if not size:
            assert data[end:] == b"\r\n\r\n"
            return out
        out += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def split_events(body):
    """The data of each event."""
    events = body.decode().split("\n\n")
    assert events[-1] == ""
    assert all(event.startswith("data: ") for event in events[:-1])
    return [event[6:] for event in events[:-1]]


@asynccontextmanager
async def serving(tmp_path, engine, embedder=None):
    """A client of a served engine, on a real socket."""
    door = MiniDoor(["minnow", "minnow-embed"])
    door.open(ServedChat("minnow", engine))
    if embedder:
        door.open(ServedEmbedder("minnow-embed", embedder))
    async with hosting(tmp_path, door) as client:
        yield client


@asynccontextmanager
async def hosting(tmp_path, door):
    """A client of `door`, which the real connection code serves on a real socket."""
    config = uvicorn.Config(host.nowhere, ws="none", lifespan="off", log_config=None)
    config.load()
    state, path = ServerState(), tmp_path / "m.sock"
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        lambda: Connection(config, state, {}, door=door, limits=Limits(), memory=Memory()), sock=listen(path)
    )
    try:
        yield Client(path)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await server.wait_closed()
