"""The journal: one whole line an entry or nothing, segments that say whether their writer lives."""

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.ledger import Entry
from shoal.storage.journal import Journal, try_lock

MakeEntry = Callable[..., Entry]

FILL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from shoal.core.errors import Fault
from shoal.core.ledger import Entry
from shoal.storage.journal import Journal
journal = Journal(Path(sys.argv[1]), "w")
limit = 10_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
number = 0
for _ in range(200):
    entry = Entry(request_id=f"r{number}", at_ms=1, key_id="k" * 60, endpoint="e", requested_model="m", model="m", provider="p",
        deployment="d", status=200, stream=False)
    try:
        journal.append(entry)
        number += 1
    except Fault as fault:
        print("full", fault.kind, fault)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit := limit + 5_000, resource.RLIM_INFINITY))
print("written", number)
"""


def read_segments(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("*.jsonl"))]


def read_entries(directory: Path) -> list[Entry]:
    content = b"".join(read_segments(directory))
    assert content.endswith(b"\n") or not content
    return [msgspec.json.decode(line, type=Entry) for line in content.split(b"\n") if line]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal", "w0")
    yield journal
    journal.close()


def test_an_entry_is_one_line_that_reads_back(journal: Journal, make_entry: MakeEntry) -> None:
    entries = [make_entry(n, error_code=None if n % 2 else "timeout", stream=bool(n % 3)) for n in range(10)]
    for number, entry in enumerate(entries, 1):
        journal.append(entry)
        assert read_segments(journal.directory)[0].count(b"\n") == number  # at once, not when closed
    assert read_entries(journal.directory) == entries


def test_a_receipt_with_line_breaks_stays_one_line(journal: Journal, make_entry: MakeEntry) -> None:
    receipt = b'{\n  "text": "a\\nb"\n}'
    journal.append(make_entry(1, receipt=msgspec.Raw(receipt)))
    (entry,) = read_entries(journal.directory)
    assert msgspec.json.decode(entry.receipt) == msgspec.json.decode(receipt) == {"text": "a\nb"}


@given(model=st.text(st.characters(exclude_categories=["Cs"])), tokens=st.none() | st.integers(0, 2**40), status=st.integers(100, 999))
def test_any_entry_reads_back(make_entry: MakeEntry, model: str, tokens: int | None, status: int) -> None:
    entry = make_entry(1, model=model, input_tokens=tokens, status=status)
    line = msgspec.json.encode(entry)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Entry) == entry


def test_a_line_of_an_older_release_reads_with_defaults(make_entry: MakeEntry) -> None:
    old = msgspec.json.encode(msgspec.structs.astuple(make_entry(1))[:10])
    assert msgspec.json.decode(old, type=Entry).input_tokens is None


@pytest.mark.parametrize("field", ["input_tokens", "cost_nano", "duration_us", "at_ms"])
@pytest.mark.parametrize("number", [-1, 2**63, 10**30])
def test_numbers_beyond_the_columns_are_no_entry(make_entry: MakeEntry, field: str, number: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(make_entry(1, **{field: number})), type=Entry)


def test_segments_rotate_and_no_entry_is_split(tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path, "w0", segment_bytes=1000)
    entries = [make_entry(n) for n in range(20)]
    for entry in entries:
        journal.append(entry)
    segments = read_segments(tmp_path)
    assert len(segments) == 5
    assert all(0 < len(segment) <= 1000 and segment.endswith(b"\n") for segment in segments)
    assert read_entries(tmp_path) == entries
    journal.close()


def test_an_entry_longer_than_a_segment_has_one_of_its_own(tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path, "w0", segment_bytes=100)
    for number in range(3):
        journal.append(make_entry(number))
    assert [segment.count(b"\n") for segment in read_segments(tmp_path)] == [1, 1, 1]
    journal.close()


def test_the_segment_being_written_is_locked_and_no_other(tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path, "w0", segment_bytes=1000)
    for number in range(8):
        journal.append(make_entry(number))
    free = {path.name: is_free(path) for path in tmp_path.iterdir()}
    assert len(free) > 1
    assert [name for name, unlocked in free.items() if not unlocked] == [journal.live]
    journal.close()
    assert all(is_free(path) for path in tmp_path.iterdir())


def is_free(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        return try_lock(file)
    finally:
        os.close(file)


def test_a_removed_segment_cannot_be_locked(tmp_path: Path) -> None:
    file = os.open(tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    (tmp_path / "gone").unlink()
    assert not try_lock(file)
    os.close(file)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        journal = Journal(tmp_path / "journal", "w0")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in journal.directory.iterdir()] == [0o600]
    journal.close()


def test_a_full_disk_is_said_and_leaves_whole_lines_only(tmp_path: Path) -> None:
    """The limit on a file's size cuts a write short exactly as a full disk does; then there is room again, several times over."""
    source = str(Path(sys.modules["shoal"].__file__ or "").parents[1])
    done = subprocess.run([sys.executable, "-c", FILL, tmp_path, source], capture_output=True, text=True, timeout=60, check=True)
    *full, written = done.stdout.splitlines()
    assert len(full) >= 2
    assert all(line.startswith("full overloaded The request cannot be recorded (File too large)") for line in full)
    entries = read_entries(tmp_path)
    assert written == f"written {len(entries)}"
    assert [entry.request_id for entry in entries] == [f"r{number}" for number in range(len(entries))]


def test_half_a_line_that_cannot_be_taken_back_does_not_spoil_the_next(
    journal: Journal, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    journal.append(make_entry(1))
    attempts = iter([40, OSError(28, "No space left on device")])

    def cut(file: int, data: bytes) -> int:
        outcome = next(attempts)
        if isinstance(outcome, OSError):
            raise outcome
        return write(file, data[:outcome])

    def refuse(*_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", cut)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(Fault, match="No space left on device"):
        journal.append(make_entry(2))
    monkeypatch.undo()
    for number in (3, 4):
        journal.append(make_entry(number))
    lines = read_segments(journal.directory)[0].splitlines()
    assert [msgspec.json.decode(line, type=Entry).request_id[-1] for line in (lines[0], *lines[2:])] == ["1", "3", "4"]
    assert len(lines[1]) == 40


def test_a_rotation_that_fails_may_be_tried_again(tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path, "w0", segment_bytes=500)
    journal.append(make_entry(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(Fault, match="Too many open files"):
            for number in range(2, 9):
                journal.append(make_entry(number))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = len(read_entries(tmp_path))
    journal.append(make_entry(9))
    assert len(read_entries(tmp_path)) == before + 1
    journal.close()


def test_a_closed_journal_takes_no_more(journal: Journal, make_entry: MakeEntry) -> None:
    journal.close()
    journal.close()
    with pytest.raises(Fault, match="cannot be recorded"):
        journal.append(make_entry(1))


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be recorded"):
        Journal(tmp_path / "file", "w0")


@pytest.mark.parametrize("worker_id", ["", "../x", "a-b", "x" * 33])
def test_a_worker_id_that_is_no_name_is_refused(tmp_path: Path, worker_id: str) -> None:
    with pytest.raises(ValueError, match="worker's id"):
        Journal(tmp_path, worker_id)


def test_kill_9_frees_the_segment_with_every_announced_line(tmp_path: Path) -> None:
    script = Path(__file__).with_name("appender.py")
    process = subprocess.Popen([sys.executable, script, tmp_path, "w0", "0", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    announced = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    announced += process.stdout.readlines()
    process.wait(timeout=20)
    process.stdout.close()
    ids = [entry.request_id for entry in read_entries(tmp_path)]
    whole = [line for line in announced if line.endswith(b"\n")]
    assert set(ids) >= {f"w0_{int(line)}" for line in whole}
    assert all(is_free(path) for path in tmp_path.iterdir())


def test_entries_of_a_turn_are_one_write(tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path, "w0")
    woken: list[bool] = []
    journal.wake = lambda: woken.append(True)
    for number in range(3):
        journal.append(make_entry(number))
    assert woken == [True]
    assert read_segments(tmp_path) == [b""]
    journal.commit()
    assert b"".join(read_segments(tmp_path)).count(b"\n") == 3
    journal.append(make_entry(3))
    journal.close()
    assert b"".join(read_segments(tmp_path)).count(b"\n") == 4
