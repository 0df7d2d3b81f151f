"""How true the minnow is to its weights: against transformers in float32 on the GGUF as it was published, dequantised exactly.

    python benchmarks/fidelity.py [--weights DIRECTORY] [--quick] [--markdown]

On the compiled graph, fifty questions: the mean KL divergence of the next-token distributions and the share of equal first choices, over 24
greedy positions each. Through the API, eight at once: the share of greedy answers that are equal over their first 60 characters, to the
fifty and to all 248 questions; the standard error of the first is 5 points, of the second 2.
The reference runs in an environment of its own with PyTorch, build/bench/env-torch, made at the first run.
"""

import argparse
import asyncio
import json
import subprocess
from pathlib import Path

import harness
import httptools
import numpy as np
import openvino
import report
import uvloop
from harness import BENCH, ROOT, Trouble
from questions import MORE_QUESTIONS, QUESTIONS
from report import Verdict, print_table

from mini import start_engine
from shoal.mini import pull
from shoal.mini.openvino import choose_precision

PACKAGES = ("torch==2.13.0", "transformers", "accelerate", "gguf", "numpy")
SHOWN_CHARACTERS = 60
AT_ONCE = 8
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def render(question: str) -> str:
    """The question as the model's own template writes it."""
    turns = (("system", SYSTEM), ("user", question))
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


def install_reference() -> str:
    """The Python of an environment with PyTorch and transformers."""
    place = BENCH / "env-torch"
    python = place / "bin" / "python"
    if not list(place.glob("lib/python*/site-packages/accelerate")):
        subprocess.run([harness.shoal_python(), "-m", "venv", "--clear", str(place)], check=True)
        if subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=False).returncode:
            raise Trouble("PyTorch and transformers could not be installed; see above")
    return str(python)


def compute_reference(weights: Path, questions: list[str], distributions: int) -> Path:
    """Run reference.py on the published GGUF, or take what an earlier run left for the same questions.

    The first `distributions` questions get their distributions written down, 5 MB each.
    """
    output = BENCH / "reference"
    output.mkdir(parents=True, exist_ok=True)
    prompts, text = output / "prompts.json", json.dumps([render(question) for question in questions])
    if prompts.exists() and prompts.read_text() == text and (output / "answers.json").exists():
        return output
    (output / "answers.json").unlink(missing_ok=True)
    prompts.write_text(text)
    row = pull.read_rows()["minnow"]
    pull.fetch_row(row, output, lambda *_: None)
    tokenizer = weights / "minnow" / "tokenizer.json"
    command = [
        install_reference(),
        str(ROOT / "benchmarks" / "reference.py"),
        *map(str, (output / row.files[0].name, tokenizer, prompts, output, distributions)),
    ]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise Trouble("the reference failed; see above")
    return output


def measure_divergence(weights: Path, reference: Path, distributions: int) -> dict[str, float]:
    """Mean and largest KL divergence from the reference (natural log), and the share of equal first choices."""
    properties = {"INFERENCE_PRECISION_HINT": choose_precision(), "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    graph = openvino.Core().compile_model(weights / "minnow" / "openvino" / "openvino_model.xml", "CPU", properties)
    request = graph.create_infer_request()
    divergences, equal = [], []
    for number, answer in enumerate(json.loads((reference / "answers.json").read_text())[:distributions]):
        request.reset_state()
        ids = np.array([answer["ids"]], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
        logits = request.infer({**feed, "beam_idx": np.zeros(1, dtype=np.int32)})[0][0][answer["prompt_tokens"] - 1 : -1].astype(np.float64)
        ours = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        theirs = np.load(reference / f"{number}.npy").astype(np.float64)
        divergences.append((np.exp(theirs) * (theirs - ours)).sum(-1))
        equal.append(theirs.argmax(-1) == ours.argmax(-1))
    every = np.concatenate(divergences)
    return {
        "kl_mean": float(every.mean()),
        "kl_max": float(every.max()),
        "top1": float(np.concatenate(equal).mean()),
        "positions": len(every),
    }


class Answer(asyncio.Protocol):
    """One HTTP exchange on a connection of its own; `done` gets the body."""

    def __init__(self, request: bytes) -> None:
        self.request, self.body = request, b""
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done.set_result(self.body)


async def ask_all(url: str, headers: dict[str, str], questions: list[str], new_tokens: int) -> list[str]:
    """Greedy answers to all questions, some at once."""
    host, port = url.split("/")[2].split(":")
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(question: str) -> str:
        body = {"model": "minnow", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": new_tokens}
        content = json.dumps(body).encode()
        lines = {"host": f"{host}:{port}", "content-type": "application/json", "content-length": str(len(content)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + content
        async with gate:
            transport, answer = await asyncio.get_running_loop().create_connection(lambda: Answer(request), host, int(port))
            reply = json.loads(await asyncio.wait_for(answer.done, 300))
            transport.close()
        if "choices" not in reply:
            raise Trouble(f"an answer failed: {reply}")
        return str(reply["choices"][0]["message"]["content"])

    return list(await asyncio.gather(*map(ask, questions)))


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--weights", type=Path, default=BENCH / "weights", help="as in SHOAL_HOME/weights; made at the first run")
    options: argparse.Namespace = parser.parse_args()
    fifty = QUESTIONS[::5] if options.quick else QUESTIONS
    questions = fifty if options.quick else [*QUESTIONS, *MORE_QUESTIONS]
    machine = report.introduce("Fidelity", options.markdown)
    weights = options.weights.resolve()
    with harness.workplace() as (directory, started):
        process, url, headers = start_engine("shoal", weights, directory / "home", [AT_ONCE])
        started.append(process)
        reference = compute_reference(weights, questions, len(fifty))
        answers = uvloop.run(ask_all(url, headers, questions, 24))
        process.stop()
    expected = [answer["text"] for answer in json.loads((reference / "answers.json").read_text())]
    same = [got.strip()[:SHOWN_CHARACTERS] == want.strip()[:SHOWN_CHARACTERS] for got, want in zip(answers, expected, strict=True)]
    graph = measure_divergence(weights, reference, len(fifty))
    shares = {len(asked): sum(asked) / len(asked) for asked in (same[: len(fifty)], same)}
    equal = [(f"greedy answers equal over {SHOWN_CHARACTERS} characters, of {count}", share) for count, share in shares.items()]
    rows = [("arithmetic", choose_precision()), *graph.items(), *equal]
    print_table(
        f"{len(fifty)} questions, and {len(questions)}, against transformers in float32", ("what", "measured"), rows, options.markdown
    )
    verdict = Verdict()
    verdict.at_most("mean KL divergence", graph["kl_mean"], 0.005)
    for count, share in shares.items():
        verdict.at_least(f"greedy answers equal, of {count}", share, 0.85)
    verdict.show(options.markdown)
    differing = [(q, got, want) for q, got, want, ok in zip(questions, answers, expected, same, strict=True) if not ok]
    report.save("fidelity", machine, {**graph, "equal": shares, "precision": choose_precision(), "differing": differing}, verdict)


if __name__ == "__main__":
    harness.run(main)
