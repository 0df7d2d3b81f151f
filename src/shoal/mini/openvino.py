"""Runs a model on CPUs with OpenVINO GenAI's continuous batching, as engine.Engine.

One thread steps the pipeline (stepper.py): it takes commands, steps, and hands all new pieces to the event loop in one call per step. The
library keeps the interpreter's lock while it steps, so after every step the thread waits until the loop has had its turn. A step that
raises leaves the pipeline unusable: every run ends with "error" and `on_broken` is called, so that the process can be replaced.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from shoal.mini.card import Card, Speed
from shoal.mini.engine import Capabilities, Finish, Full, Piece, Sampling, Tokenizer
from shoal.mini.grammar import write_grammar
from shoal.mini.memory import machine_bytes
from shoal.mini.processor import spare
from shoal.mini.stepper import Stepper
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import TokenTable
from shoal.mini.watch import JsonWatch

MODEL_DIRECTORY = "openvino"
GRAPH_FILE = "openvino_model.xml"
SLOTS = 64
QUEUE = 256
_LOOP_TURN_S = 0.02  # how long a step waits for the event loop's turn before it goes on without it
_BATCH_TOKENS = 512  # prompt tokens per step: a longer chunk would make running streams stutter
_MOST_CACHE_GB = 4  # of keys and values: in f32 some 90,000 tokens of the minnow; memory is taken as it fills
_MEMORY_PER_CACHE_GB = 6 * 10**9
_BLOCK_TOKENS = 32  # the library's, on CPUs

_log = logging.getLogger(__name__)
_Finish = openvino_genai.GenerationFinishReason
_Status = openvino_genai.GenerationStatus


class OpenVinoRun:
    """One answer in the making. Its fields belong to the engine's thread, except `done`, which belongs to the event loop."""

    def __init__(self, engine: "OpenVinoEngine", prompt: Sequence[int], sampling: Sampling, sink: Callable[[Piece], None]) -> None:
        self.engine, self.prompt, self.sampling, self.sink = engine, prompt, sampling, sink
        self.handle: Any = None
        self.watch: JsonWatch | None = None
        self.done = False

    def cancel(self) -> None:
        """Free the slot before the next step; the sink gets "cancelled", and nothing that was still under way."""
        if not self.done:
            self.engine.cancel(self)

    def deliver(self, piece: Piece) -> None:
        """On the event loop: pass a piece on unless the run has ended."""
        if self.done:
            return
        if piece.finish is not None:
            self.done = True
            self.engine.forget(self)
        self.sink(piece)


class OpenVinoEngine:
    """A loaded pipeline."""

    def __init__(
        self,
        directory: Path,
        card: Card,
        threads: int,
        on_broken: Callable[[str], None],
        speed: Speed | None = None,
        stepper: Stepper | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """Load the model (some seconds, blocking). `on_broken` is called from the stepper's thread with the reason, once.

        `stepper` steps other pipelines as well; None: one of its own. `cache_bytes` bounds the keys and values that are kept.
        """
        self.capabilities = Capabilities(context_tokens=card.context_tokens, chosen_logprobs=True, json_schema=True)
        self.chat_template = card.chat_template
        self.named_tokens: Mapping[str, str] = {"bos_token": card.bos_token, "eos_token": card.eos_token}
        self.tokenizer: Tokenizer = TokenTable(directory / TOKENIZER_FILE)
        self._stop_tokens = frozenset(card.stop_tokens)
        self._pipeline: Any = open_pipeline(directory / MODEL_DIRECTORY, threads, cache_bytes)
        self._on_broken = on_broken
        self._tokens_per_s = speed.decode_tokens_per_s if speed else 100.0
        self._broken: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live: dict[OpenVinoRun, None] = {}
        self._runs: dict[OpenVinoRun, None] = {}  # the thread's own, unlike _live
        self._turn = threading.Event()
        self._next_id = 0
        self._shares = stepper is not None
        self._stepper = stepper or Stepper()

    # ---- the event loop's side

    @property
    def running(self) -> int:
        """Runs that hold a slot."""
        return min(len(self._live), SLOTS)

    @property
    def waiting(self) -> int:
        """Runs that wait for a slot."""
        return max(0, len(self._live) - SLOTS)

    def check(self, json_schema: str) -> None:
        """Raise engine.BadGrammar unless every answer can be held to the schema; the grammar is kept for `submit`."""
        write_grammar(json_schema)

    def submit(self, prompt: Sequence[int], sampling: Sampling, sink: Callable[[Piece], None]) -> OpenVinoRun:
        """Queue one run; call it on the event loop. Raises engine.Full."""
        if len(self._live) >= SLOTS + QUEUE:
            raise Full(self._estimate_wait_s())
        self._loop = asyncio.get_running_loop()
        run = OpenVinoRun(self, prompt, sampling, sink)
        self._live[run] = None
        if self._broken is not None:
            self._loop.call_soon(run.deliver, Piece(finish="error", error=self._broken))
        else:
            self._stepper.tell(self, lambda: self._add(run))
        return run

    def cancel(self, run: OpenVinoRun) -> None:
        """Take `run` out of the pipeline before its next step."""
        self._stepper.tell(self, lambda: self._take_out(run))
        if self._loop is not None:
            self._loop.call_soon(run.deliver, Piece(finish="cancelled"))

    def forget(self, run: OpenVinoRun) -> None:
        """Stop counting a run that has ended."""
        self._live.pop(run, None)

    def close(self) -> None:
        """Free the model after the current step; blocks until that is done. Runs still under way get no further piece."""
        freed = threading.Event()
        self._stepper.tell(self, lambda: self._free(freed))
        freed.wait()
        if not self._shares:
            self._stepper.close()

    def _estimate_wait_s(self) -> float:
        """When a place in the queue should be free: the mean rest of a running answer at the measured speed, at least a second."""
        owed = sum(run.sampling.max_tokens for run in self._live) / 2
        return max(1.0, round(owed / len(self._live) / self._tokens_per_s, 1))

    # ---- the thread's side

    def step(self) -> bool:
        """See stepper.Stepped."""
        self._pipeline.step()
        self._hand_over(self._collect(self._runs))
        return bool(self._runs)

    def break_off(self, error: Exception) -> None:
        """See stepper.Stepped: nothing in the library can be trusted now."""
        _log.error("the engine broke", exc_info=error)
        self._broken = reason = f"the engine failed: {error}"
        self._runs.clear()
        self._hand_over([(run, Piece(finish="error", error=reason)) for run in list(self._live)])
        self._on_broken(reason)
        self._pipeline = None

    def _free(self, freed: threading.Event) -> bool:
        self._broken = self._broken or "the model was unloaded"
        self._runs.clear()
        self._pipeline = None
        freed.set()
        return False

    def _take_out(self, run: OpenVinoRun) -> bool:
        if run in self._runs:
            run.handle.cancel()
            del self._runs[run]
        return bool(self._runs)

    def _add(self, run: OpenVinoRun) -> bool:
        if not run.done and self._pipeline is not None:  # it may have been cancelled before its turn came
            ids = openvino.Tensor(np.array([run.prompt], dtype=np.int64))
            self._next_id += 1
            if run.sampling.json_schema is not None:
                run.watch = JsonWatch(run.sampling.json_schema, self.tokenizer.decode_bytes)
            run.handle = self._pipeline.add_request(self._next_id, ids, self._configure(run.sampling))
            self._runs[run] = None
        return bool(self._runs)

    def _configure(self, sampling: Sampling) -> Any:
        config = openvino_genai.GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            do_sample=sampling.temperature > 0,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            logprobs=int(sampling.logprobs),
            stop_token_ids=set(self._stop_tokens),
            apply_chat_template=False,
        )
        if sampling.temperature > 0:
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            config.rng_seed = (time.time_ns() if sampling.seed is None else sampling.seed) % 2**63
        if sampling.json_schema is not None:
            grammar = write_grammar(sampling.json_schema)
            config.structured_output_config = openvino_genai.StructuredOutputConfig(grammar=grammar)
        return config

    def _collect(self, runs: dict[OpenVinoRun, None]) -> list[tuple[OpenVinoRun, Piece]]:
        """What the last step gave each run; runs that ended are taken out of `runs`."""
        pieces = []
        for run in list(runs):
            if not run.handle.can_read():
                if run.handle.get_status() == _Status.IGNORED:
                    pieces.append((run, Piece(finish="error", error="the prompt does not fit the engine's cache")))
                    del runs[run]
                continue
            tokens: list[int] = []
            logprobs: list[float] = []
            finish = _Finish.NONE
            while run.handle.can_read():
                for output in run.handle.read().values():
                    tokens += output.generated_ids
                    logprobs += output.generated_log_probs
                    finish = output.finish_reason
            pieces.append((run, self._shape(run, tokens, logprobs, finish)))
            if pieces[-1][1].finish is not None:
                del runs[run]
                run.handle.cancel()  # the watch may have ended it before the engine did
        return pieces

    def _shape(self, run: OpenVinoRun, tokens: list[int], logprobs: list[float], finish: Any) -> Piece:
        if finish == _Finish.STOP and tokens and tokens[-1] in self._stop_tokens:
            tokens, logprobs = tokens[:-1], logprobs[:-1]
        reason: Finish | None = "stop" if finish == _Finish.STOP else "length" if finish == _Finish.LENGTH else None
        if run.watch is not None and (not run.watch.feed(tokens) or (reason == "stop" and not run.watch.is_valid())):
            reason = "length"
        return Piece(tokens, logprobs if run.sampling.logprobs else (), reason)

    def _hand_over(self, pieces: list[tuple[OpenVinoRun, Piece]]) -> None:
        """Give the loop its turn with the step's pieces, and wait until it has had it."""
        if self._loop is None or self._loop.is_closed():
            return
        self._turn.clear()
        self._loop.call_soon_threadsafe(self._deliver, pieces)
        self._turn.wait(_LOOP_TURN_S)

    def _deliver(self, pieces: list[tuple[OpenVinoRun, Piece]]) -> None:
        for run, piece in pieces:
            run.deliver(piece)
        self._turn.set()


def open_pipeline(directory: Path, threads: int, cache_bytes: int | None = None) -> Any:
    """Compile the model in `directory` (OpenVINO's own form) for this CPU, with `threads` threads.

    `cache_bytes` bounds the cache of keys and values; None takes a share of the machine's memory. It is taken as it fills.
    """
    spare(threads)
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = _BATCH_TOKENS
    scheduler.max_num_seqs = SLOTS
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    if cache_bytes is None:
        scheduler.cache_size = max(1, min(_MOST_CACHE_GB, machine_bytes() // _MEMORY_PER_CACHE_GB))
    else:
        scheduler.cache_size = 0
        scheduler.num_kv_blocks = max(1, cache_bytes // (_BLOCK_TOKENS * count_token_bytes(directory)))
    precision = choose_precision()
    properties: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    if precision == "f32":
        properties["KV_CACHE_PRECISION"] = "f32"  # as fast as the f16 it would be otherwise, and a near tie falls as it should
    # activations have outliers that 8 bits do not hold: quantising them on the way costs more truth than it gives speed (docs/lab.md)
    properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    return openvino_genai.ContinuousBatchingPipeline(directory, scheduler, "CPU", properties)


def count_token_bytes(directory: Path) -> int:
    """Bytes that the keys and values of one token take in the cache, from the shapes of the graph's state. Some 0.1 s."""
    graph = openvino.Core().read_model(directory / GRAPH_FILE)
    shapes = [node.output(0).partial_shape for node in graph.get_ops() if node.get_type_name() == "ReadValue"]
    numbers: int = sum(math.prod(side.get_length() for side in shape if side.is_static) for shape in shapes)
    return max(1, numbers) * (4 if choose_precision() == "f32" else 2)


def choose_precision() -> str:
    """The arithmetic for this CPU: bf16 or f16 where the hardware computes in it, else f32. docs/lab.md holds what each loses."""
    capable = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capable else "f16" if "FP16" in capable else "f32"


def measure_prefill(pipeline: Any, prompt_tokens: int, for_s: float) -> float:
    """Prompt tokens per second, from distinct prompts (so that no cached prefix helps) over at least `for_s` seconds."""
    random = np.random.default_rng()
    config = openvino_genai.GenerationConfig(max_new_tokens=1, do_sample=False, ignore_eos=True)
    started, done = time.monotonic(), 0
    while True:
        prompt = openvino.Tensor(random.integers(100, 1000, (1, prompt_tokens), dtype=np.int64))
        handle = pipeline.add_request(done, prompt, config)  # a handle that is dropped drops its request
        while pipeline.has_non_finished_requests():
            pipeline.step()
        done += prompt_tokens * len(handle.read_all())
        if (spent := time.monotonic() - started) >= for_s:
            return done / spent


def measure_decode(pipeline: Any, streams: int, for_s: float) -> float:
    """Generated tokens per second in all, with `streams` answers at once, over at least `for_s` seconds."""
    random = np.random.default_rng()
    config = openvino_genai.GenerationConfig(max_new_tokens=4096, do_sample=False, ignore_eos=True)
    prompts = [openvino.Tensor(random.integers(100, 1000, (1, 4), dtype=np.int64)) for _ in range(streams)]
    handles = [pipeline.add_request(10**9 + i, prompt, config) for i, prompt in enumerate(prompts)]
    for _ in range(2):
        pipeline.step()
    started, steps = time.monotonic(), 0
    while (spent := time.monotonic() - started) < for_s:
        pipeline.step()
        steps += 1
    for handle in handles:
        handle.cancel()
    pipeline.step()
    return steps * streams / spent
