"""Where the ledger's benchmarks take place: an upstream whose answers use tokens at random, and a Shoal that knows what they cost."""

import sys
from pathlib import Path

import harness
import understudy
from books import Firm
from harness import GENERATOR_CORE, QUESTION, Process, Shoal
from load import write_request

COUNTED = "counted"
"""The model's name. A token read costs a fifth of a millionth of a USD, one said 20 millionths."""


def counted_config(upstream_port: int, more: str = "") -> str:
    """One model at one upstream, with a price."""
    return (
        f'{more}[providers.bench]\nlike = "vllm"\nbase_url = "http://127.0.0.1:{upstream_port}/v1"\ndiscover = false\n\n'
        f"[models.{COUNTED}]\ndeployments = [{{ "
        f'provider = "bench", model = "{understudy.VARIED}", price = {{ input = 0.2, output = 20.0 }}, context_tokens = 8192 }}]\n'
    )


def start_understudy(started: list[Process]) -> int:
    """Start the upstream; its port."""
    port = harness.find_port()
    script = str(Path(__file__).with_name("understudy.py"))
    process = Process("understudy", [sys.executable, script, str(port), "1"], GENERATOR_CORE)
    started.append(process)
    harness.await_answer(process, f"http://127.0.0.1:{port}/v1/chat/completions", {}, {**QUESTION, "model": understudy.VARIED})
    return port


def write_questions(url: str, firm: Firm, most_tokens: int) -> list[bytes]:
    """The requests of a firm's key: one for a whole answer, one for a stream, whose answers say what they cost."""
    question = {**QUESTION, "model": COUNTED, "max_tokens": most_tokens}
    stream = {**question, "stream": True, "stream_options": {"include_usage": True}}
    return [write_request(url, firm.headers, body) for body in (question, stream)]


def await_server(shoal: Shoal) -> None:
    """Wait until a server answers, by the operator's own key."""
    harness.await_answer(shoal.process, shoal.url, shoal.headers, {**QUESTION, "model": COUNTED})
