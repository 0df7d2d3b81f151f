"""Runs a GGUF with llama.cpp through xllamacpp (the extra `llamacpp`), as engine.Engine: for architectures that OpenVINO does not read.

The library batches by itself; every run is a thread that waits in it. It tells text and, of characters that span tokens, only the last
token, so a piece carries the tokens it tells where their bytes are those of the text, and else the text encoded anew: the bytes are exact.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp

from shoal.mini.card import Card, Speed
from shoal.mini.engine import Capabilities, Finish, Full, Piece, Sampling, Tokenizer
from shoal.mini.grammar import write_grammar
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import TokenTable
from shoal.mini.watch import JsonWatch

GGUF_FILE = "model.gguf"
SLOTS = 16
QUEUE = 64
_SHARED_CONTEXT = 16_384  # tokens that all slots share, at least


class LlamaCppRun:
    """One answer in the making. `cancelled` is set by the event loop and read by the run's thread; `done` belongs to the event loop."""

    def __init__(self, sink: Callable[[Piece], None], forget: Callable[["LlamaCppRun"], None]) -> None:
        self.sink, self.forget = sink, forget
        self.loop = asyncio.get_running_loop()
        self.cancelled = self.done = False

    def cancel(self) -> None:
        """Stop at the next token; the sink gets "cancelled" and nothing that was still under way."""
        if not self.done:
            self.cancelled = True
            self.loop.call_soon(self.deliver, Piece(finish="cancelled"))

    def deliver(self, piece: Piece) -> None:
        """On the event loop: pass a piece on unless the run has ended, or was cancelled and this is not the word of it."""
        if self.done or (self.cancelled and piece.finish != "cancelled"):
            return
        if piece.finish is not None:
            self.done = True
            self.forget(self)
        self.sink(piece)

    def post(self, piece: Piece) -> None:
        """From the run's thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.deliver, piece)


class LlamaCppEngine:
    """A loaded llama.cpp server, used from inside the process."""

    def __init__(self, directory: Path, card: Card, threads: int, speed: Speed | None = None) -> None:
        """Load the model (blocking). Raises RuntimeError if llama.cpp cannot read it."""
        self.capabilities = Capabilities(context_tokens=card.context_tokens, json_schema=True, cached_tokens=True)
        self.chat_template = card.chat_template
        self.named_tokens: Mapping[str, str] = {"bos_token": card.bos_token, "eos_token": card.eos_token}
        self.tokenizer: Tokenizer = TokenTable(directory / TOKENIZER_FILE)
        self._tokens_per_s = speed.decode_tokens_per_s if speed else 20.0
        self._server: Any = open_server(directory / GGUF_FILE, card.context_tokens, threads)
        self._threads = ThreadPoolExecutor(SLOTS, "llamacpp")
        self._live: dict[LlamaCppRun, int] = {}

    @property
    def running(self) -> int:
        """Runs that hold a slot."""
        return min(len(self._live), SLOTS)

    @property
    def waiting(self) -> int:
        """Runs that wait for a slot."""
        return max(0, len(self._live) - SLOTS)

    def check(self, json_schema: str) -> None:
        """Raise engine.BadGrammar unless every answer can be held to the schema."""
        write_grammar(json_schema)

    def submit(self, prompt: Sequence[int], sampling: Sampling, sink: Callable[[Piece], None]) -> LlamaCppRun:
        """Queue one run; call it on the event loop. Raises engine.Full."""
        if len(self._live) >= SLOTS + QUEUE:
            mean = sum(self._live.values()) / 2 / len(self._live)
            raise Full(max(1.0, round(mean / self._tokens_per_s, 1)))
        run = LlamaCppRun(sink, self._live.__delitem__)
        self._live[run] = sampling.max_tokens
        self._threads.submit(self._work, run, list(prompt), sampling)
        return run

    def close(self) -> None:
        """Stop all runs and free the model. They get no further piece."""
        for run in list(self._live):
            run.cancelled = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._server = None

    def _work(self, run: LlamaCppRun, prompt: list[int], sampling: Sampling) -> None:
        """In the run's thread: generate, and end with exactly one last piece."""
        if run.cancelled:
            return
        reader = _Reader(run, self.tokenizer, sampling)
        try:
            self._server.handle_completions(_make_request(prompt, sampling), reader.read)
        except Exception as error:  # supervised: a run that fails must still tell its caller
            run.post(Piece(finish="error", error=f"llama.cpp failed: {error}"))
            return
        if not reader.ended and not run.cancelled:
            run.post(Piece(finish="error", error="llama.cpp ended the answer without a reason"))


class _Reader:
    """Turns llama.cpp's chunks of one answer into pieces."""

    def __init__(self, run: LlamaCppRun, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self.run, self.tokenizer = run, tokenizer
        self.watch = None if sampling.json_schema is None else JsonWatch(sampling.json_schema, tokenizer.decode_bytes)
        self.ended = False

    def read(self, chunk: dict[str, Any]) -> bool:
        """One chunk; True tells llama.cpp to stop."""
        if self.run.cancelled or self.ended:
            return True
        if "error" in chunk:
            self._end(Piece(finish="error", error=str(chunk["error"].get("message", chunk["error"]))))
            return True
        choice = chunk["choices"][0]
        tokens = self._read_tokens(choice)
        finish: Finish | None = choice["finish_reason"]
        if self.watch is not None and (not self.watch.feed(tokens) or (finish == "stop" and not self.watch.is_valid())):
            finish = "length"
        if finish is None:
            if tokens:
                self.run.post(Piece(tokens))
            return False
        usage = chunk.get("usage") or {}
        self._end(Piece(tokens, finish=finish, cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens")))
        return True

    def _read_tokens(self, choice: dict[str, Any]) -> list[int]:
        text = choice["text"].encode()
        told = [entry["id"] for entry in (choice["logprobs"] or {}).get("content") or ()]
        if told and self.tokenizer.decode_bytes(told) == text:
            return told
        return self.tokenizer.encode(choice["text"]) if text else []

    def _end(self, piece: Piece) -> None:
        self.ended = True
        self.run.post(piece)


def open_server(gguf: Path, context_tokens: int, threads: int) -> Any:
    """llama.cpp's server on `gguf`. It insists on a port: on loopback, of the system's choice, behind a key that nobody knows."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = os.fspath(gguf)
    parameters.n_parallel, parameters.kv_unified = SLOTS, True
    parameters.n_ctx = max(context_tokens, _SHARED_CONTEXT)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.hostnames, parameters.port, parameters.api_keys = ["127.0.0.1"], 0, [secrets.token_urlsafe(32)]
    parameters.ui, parameters.verbosity = False, 0
    server = xllamacpp.Server(parameters)
    server.handle_completions({"prompt": [0], "max_tokens": 1})  # a server that is ended before its first answer never ends
    return server


def _make_request(prompt: list[int], sampling: Sampling) -> dict[str, Any]:
    """llama.cpp's own samplers (top-k, min-p, repetition) are off: only what was asked for shapes the answer."""
    request: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_last_n": sampling.max_tokens,
        "logprobs": 1,  # tells the ids
        "cache_prompt": sampling.seed is None,  # a reused beginning changes rounding
    }
    if sampling.seed is not None:
        request["seed"] = sampling.seed % 2**32
    if sampling.json_schema is not None:
        request["grammar"] = write_grammar(sampling.json_schema, lookahead=False)
    return request


def measure_speed(gguf: Path, context_tokens: int, threads: int, prompt: list[int]) -> Speed:
    """Tokens per second by llama.cpp's own clock, prefill and decoding, one answer at a time."""
    server = open_server(gguf, context_tokens, threads)
    answer = server.handle_completions({"prompt": prompt, "max_tokens": 32, "ignore_eos": True, "cache_prompt": False})
    if "error" in answer:
        raise RuntimeError(f"llama.cpp cannot run it: {answer['error'].get('message')}")
    timings = answer["timings"]
    return Speed(round(timings["predicted_per_second"], 1), round(timings["prompt_per_second"], 1), 1, threads)
