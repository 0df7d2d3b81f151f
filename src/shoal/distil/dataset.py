"""Datasets: rows that were checked, cleaned and split once, and are never changed again. Each is a directory named by its content.

HOME/datasets/ds_0123456789ab holds manifest.json, which says where its rows came from and what was left out for which reason, and
train.jsonl, dev.jsonl and test.jsonl. The one thing that replaces a dataset is a person's wish to be forgotten (`forget`).
"""

import fcntl
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.distil.cleaning import Options, clean
from shoal.distil.collect import Gathered
from shoal.distil.ladder import kind_of
from shoal.distil.rows import Row
from shoal.distil.split import PARTS, Part
from shoal.distil.student import Task

FORM = 1
MANIFEST = "manifest.json"
DEFAULTS = Options()
_LOCK, _HIDDEN = ".lock", ".partial-"
REPLACED = "replaced.json"
"""In the directory of all datasets: which one took the place of one that had to forget somebody."""


class File(msgspec.Struct, frozen=True):
    """One split on disk."""

    sha256: str
    bytes: int
    rows: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset is. `rejected` counts rows by the reason for which they are not in it, `redacted` personal data by its kind;
    `kinds`, `models`, `rules` and `consents` say of how many rows which is true (rows.Origin). `replaces` is the dataset that had to forget
    somebody, and `forgotten` how many rows it lost."""

    id: str
    form: int = FORM
    files: Mapping[Part, File]
    options: Mapping[str, object]
    given: int
    rejected: Mapping[str, int]
    redacted: Mapping[str, int]
    kinds: Mapping[str, int]
    models: Mapping[str, int]
    rules: Mapping[str, int]
    consents: Mapping[str, int]
    replaces: str | None = None
    forgotten: int = 0


class Dataset(msgspec.Struct, frozen=True):
    """A dataset and where it is."""

    directory: Path
    manifest: Manifest
    rows: Mapping[Part, Sequence[Row]]

    @property
    def id(self) -> str:
        """ds_ and twelve digits of a hash of its content."""
        return self.manifest.id


def build(gathered: Gathered, directory: Path, options: Options = DEFAULTS, validation: Sequence[Row] = ()) -> Dataset:
    """A dataset of these rows below `directory`: checked, cleaned and split (cleaning.py). Errors: Fault where nothing is left; OSError."""
    cleaned = clean(gathered, options, validation)
    if not cleaned.parts["train"]:
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(cleaned.rejected.items())) or "none were given"
        raise Fault("invalid_value", f"No row is left to train on. Rows that are not used: {why}.", param="training_file")
    counts = {"given": cleaned.given, "rejected": cleaned.rejected, "redacted": cleaned.redacted}
    return write(cleaned.parts, {"form": FORM, "options": msgspec.to_builtins(options), **counts}, directory)


def write(parts: Mapping[Part, Sequence[Row]], told: Mapping[str, object], directory: Path) -> Dataset:
    """Write a dataset below `directory`; it appears whole or not at all, and the same content again is the same dataset.

    `told` are the members of the manifest that the rows do not tell. Errors: OSError, such as for a disk that is full.
    """
    contents = {part: b"".join(msgspec.json.encode(row) + b"\n" for row in parts.get(part, ())) for part in PARTS}
    files = {part: File(hashlib.sha256(content).hexdigest(), len(content), len(parts.get(part, ()))) for part, content in contents.items()}
    told = {**told, "files": files, **_origins(row for part in PARTS for row in parts.get(part, ()))}
    id = "ds_" + hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:12]
    encoded = msgspec.json.format(msgspec.json.encode({**told, "id": id}, order="sorted"), indent=2)
    place = directory / id
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        if not place.exists():
            _appear(place, {f"{part}.jsonl": content for part, content in contents.items()} | {MANIFEST: encoded})
    return Dataset(place, msgspec.json.decode(encoded, type=Manifest), {part: tuple(parts.get(part, ())) for part in PARTS})


def _origins(rows: Iterable[Row]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {"kinds": Counter(), "models": Counter(), "rules": Counter(), "consents": Counter()}
    for row in rows:
        origin = row.origin
        model = f"{origin.provider}/{origin.model.removeprefix(origin.provider + '/')}" if origin.provider else origin.model
        for name, value in (("kinds", origin.kind), ("models", model), ("rules", origin.rule), ("consents", origin.consent)):
            counts[name][value or "not said"] += 1
    return counts


@contextmanager
def _locked(datasets: Path) -> Iterator[None]:
    """Alone to change which datasets there are; what a process that died was writing or deleting goes first."""
    with (datasets / _LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in datasets.glob(f"{_HIDDEN}*"):
            shutil.rmtree(left)
        yield


def _appear(place: Path, contents: Mapping[str, bytes]) -> None:
    """A directory with these files, synced, by one rename."""
    partial = place.with_name(f"{_HIDDEN}{place.name}")
    partial.mkdir()
    try:
        for name, content in contents.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            (partial / name).chmod(0o400)
        _sync(partial)
        partial.rename(place)
        _sync(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _vanish(place: Path) -> None:
    """Delete a directory, of which never a part is seen."""
    hidden = place.rename(place.with_name(f"{_HIDDEN}{place.name}"))
    shutil.rmtree(hidden)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(directory: Path) -> Dataset:
    """A dataset as it was written, or the one that replaced it since. Errors: Fault not_found; Fault invalid_value where it was changed."""
    directory = _follow(directory)
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        contents = {part: (directory / f"{part}.jsonl").read_bytes() for part in PARTS}
    except FileNotFoundError:
        if _follow(directory) != directory:  # it was replaced just now
            return read(directory)
        raise Fault("not_found", f"There is no dataset {directory.name}.", param="dataset") from None
    for part, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[part].sha256:
            raise Fault("invalid_value", f"{part}.jsonl of the dataset {directory.name} was changed: build it again.", param="dataset")
    rows = {part: tuple(msgspec.json.decode(line, type=Row) for line in content.splitlines()) for part, content in contents.items()}
    return Dataset(directory, manifest, rows)


def _replacements(datasets: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((datasets / REPLACED).read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}


def _follow(directory: Path) -> Path:
    replaced = _replacements(directory.parent)
    while not directory.exists() and directory.name in replaced:
        directory = directory.with_name(replaced[directory.name])
    return directory


def task_of(dataset: Dataset) -> Task:
    """What a student of this dataset is to learn; the kind is told from the answers (ladder.kind_of). Errors: Fault when there are none."""
    train, dev, test = (tuple(row for row in dataset.rows[part] if row.answer) for part in PARTS)
    if not train:
        raise Fault("invalid_value", f"The dataset {dataset.id} has no answers to learn from.", param="dataset")
    kind, labels = kind_of([row.answer for row in (*train, *dev)])
    return Task(kind, train, dev, test, labels)


def forget(datasets: Path, about: Callable[[Row], bool]) -> int:
    """Remove rows from every dataset below a directory, for ever: a new one without them takes the place of each that had some. How many
    rows went. What is interrupted goes on when it is called again. Errors: OSError."""
    if not datasets.is_dir():
        return 0
    with _locked(datasets):  # sweeps
        gone = 0
    for directory in sorted(datasets.glob("ds_*")):
        old = read(directory)
        kept: dict[Part, list[Row]] = {part: [row for row in rows if not about(row)] for part, rows in old.rows.items()}
        lost = sum(len(old.rows[part]) - len(kept[part]) for part in PARTS)
        if not lost:
            continue
        told = {**msgspec.to_builtins(old.manifest), "replaces": old.id, "forgotten": old.manifest.forgotten + lost}
        for name in ("id", "files", "kinds", "models", "rules", "consents"):
            told.pop(name)
        new = write(kept, told, datasets)
        with _locked(datasets):
            _record(datasets, old.id, new.id)
            _vanish(directory)
        gone += lost
    return gone


def _record(datasets: Path, old: str, new: str) -> None:
    partial = datasets / f"{REPLACED}.new"
    with partial.open("wb") as file:
        file.write(msgspec.json.encode({**_replacements(datasets), old: new}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(datasets / REPLACED)
