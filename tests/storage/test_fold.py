"""Folding: every whole line once, whoever wrote it, however that ended, however many fold at the same time."""

import logging
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import OperationalError
from stored_rows import query

from shoal.core.ledger import Entry
from shoal.storage import fold, usage
from shoal.storage.bulk import STATEMENT_ROWS
from shoal.storage.journal import Journal
from shoal.storage.store import Store

MakeEntry = Callable[..., Entry]
HERE = Path(__file__).parent
PATIENCE_S = 60


async def count_rows(store: Store) -> tuple[int, int]:
    """Rows of the log, and what the roll-ups say they are: these may never differ."""
    ((rows,),) = await query(store, "SELECT count(*) FROM requests")
    ((summed,),) = await query(store, "SELECT coalesce(sum(requests), 0) FROM usage_days")
    ((of_projects,),) = await query(store, "SELECT coalesce(sum(requests), 0) FROM project_usage_days")
    assert summed == of_projects
    return rows, int(summed)


def write(directory: Path, name: str, *parts: Entry | bytes) -> Path:
    """A segment that nobody holds: entries as lines, bytes as they are."""
    directory.mkdir(exist_ok=True)
    content = b"".join(part if isinstance(part, bytes) else msgspec.json.encode(part) + b"\n" for part in parts)
    path = directory / f"{name}.jsonl"
    path.write_bytes(content)
    return path


async def test_an_entry_comes_back_as_it_was(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    full = make_entry(
        1, stream=True, cache_read_tokens=1, cache_write_tokens=2, reasoning_tokens=3, overhead_us=4, first_token_us=5, duration_us=6
    )
    bare = make_entry(2, status=500, error_code="internal_error", input_tokens=None, output_tokens=None, cost_nano=None)
    write(tmp_path / "journal", "a", full, bare)
    await store.recover(tmp_path / "journal")
    assert await store.receipts.find(full.request_id) == full
    assert await store.receipts.find(bare.request_id) == bare
    assert await store.receipts.find("req_unknown") is None


async def test_the_roll_up_sums_by_day_key_and_model(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    day = usage.DAY_MS
    write(
        tmp_path / "journal",
        "a",
        make_entry(1, at_ms=day * 5, charged_nano=9, cache_read_tokens=4, cache_write_tokens=5, reasoning_tokens=1),
        make_entry(2, at_ms=day * 6 - 1, status=499, cost_nano=None, input_tokens=None),
        make_entry(3, at_ms=day * 6),
        make_entry(4, at_ms=day * 5, key_id="key_b", project_id="proj_x"),
        make_entry(5, at_ms=day * 5, model="other"),
    )
    await store.recover(tmp_path / "journal")
    assert await query(store, "SELECT * FROM usage_days ORDER BY day, key_id, model") == [
        ("key_a", 5, "openai/gpt", 2, 1, 1, 10, 6, 4, 5, 1, 7, 9),
        ("key_a", 5, "other", 1, 0, 0, 10, 3, 0, 0, 0, 7, 0),
        ("key_b", 5, "openai/gpt", 1, 0, 0, 10, 3, 0, 0, 0, 7, 0),
        ("key_a", 6, "openai/gpt", 1, 0, 0, 10, 3, 0, 0, 0, 7, 0),
    ]
    assert await query(
        store, "SELECT project_id, day, model, requests, cost_nano, charged_nano FROM project_usage_days ORDER BY 1, 2, 3"
    ) == [
        ("proj_default", 5, "openai/gpt", 2, 7, 9),
        ("proj_default", 5, "other", 1, 7, 0),
        ("proj_default", 6, "openai/gpt", 1, 7, 0),
        ("proj_x", 5, "openai/gpt", 1, 7, 0),
    ]


async def test_own_segment_is_folded_as_it_grows_and_removed_once_closed(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path / "journal", "w0", segment_bytes=2000)
    folder = store.fold(journal.directory, journal)
    for number in range(30):
        journal.append(make_entry(number))
        if number % 7 == 0:
            await folder.flush()
            assert await count_rows(store) == (number + 1, number + 1)
            assert [path.name for path in journal.directory.iterdir()] == [journal.live]
    journal.close()
    await folder.flush()
    assert await count_rows(store) == (30, 30)
    assert list(journal.directory.iterdir()) == []
    assert await query(store, "SELECT * FROM journal_offsets") == []


async def test_what_the_living_write_is_left_to_them_unless_asked_for(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path / "journal", "w1")
    journal.append(make_entry(1))
    folder = store.fold(journal.directory)
    await folder.flush()
    assert await count_rows(store) == (0, 0)
    await folder.flush(everyone=True)
    journal.append(make_entry(2))
    await store.fold(journal.directory, journal).flush()
    assert await count_rows(store) == (2, 2)
    assert (journal.directory / str(journal.live)).exists()
    journal.close()


async def test_groups_and_statements_end_anywhere(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    sizes = (fold.GROUP_ROWS * 2 + sum(STATEMENT_ROWS), fold.GROUP_ROWS, *STATEMENT_ROWS, 0)
    for name, size in enumerate(sizes):
        write(tmp_path / "journal", str(name), *(make_entry(name * 100_000 + number) for number in range(size)))
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (sum(sizes), sum(sizes))
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_line_longer_than_a_read_is_folded(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    receipt = msgspec.Raw(b'"' + b"x" * (3 * fold.READ_BYTES) + b'"')
    write(tmp_path / "journal", "a", make_entry(1), make_entry(2, receipt=receipt), make_entry(3))
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (3, 3)
    found = await store.receipts.find("req_000000002")
    assert found is not None
    assert found.receipt == receipt


async def test_a_group_larger_than_a_read_is_cut_between_lines(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    receipt = msgspec.Raw(b'"' + b"x" * 1000 + b'"')
    count = 3 * fold.READ_BYTES // 1000
    write(tmp_path / "journal", "a", *(make_entry(number, receipt=receipt) for number in range(count)))
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (count, count)
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_line_torn_at_any_byte_waits_until_it_is_whole(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    journal = Journal(tmp_path / "journal", "w0")
    folder = store.fold(journal.directory, journal)
    line = msgspec.json.encode(make_entry(1)) + b"\n"
    with (journal.directory / str(journal.live)).open("ab", buffering=0) as segment:
        for number, at in enumerate(range(0, len(line), 7)):
            line = msgspec.json.encode(make_entry(number)) + b"\n"
            segment.write(line[:at])
            await folder.flush()
            assert await count_rows(store) == (number, number)
            segment.write(line[at:])
            await folder.flush()
            assert await count_rows(store) == (number + 1, number + 1)
    journal.close()
    assert not (journal.directory / fold.REJECTED).exists()


async def test_what_a_dead_process_left_torn_at_any_byte_is_set_aside(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    torn = msgspec.json.encode(make_entry(999))
    for at in range(len(torn)):
        write(tmp_path / "journal", f"{at:04d}", make_entry(at), torn[:at])
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (len(torn), len(torn))
    aside = {path.name: path.read_bytes() for path in (tmp_path / "journal" / fold.REJECTED).iterdir()}
    assert aside == {f"{at:04d}.jsonl": torn[:at] + b"\n" for at in range(1, len(torn))}


async def test_a_last_line_that_lacks_its_end_alone_counts(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    write(tmp_path / "journal", "a", make_entry(1), msgspec.json.encode(make_entry(2)))
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (2, 2)
    assert list((tmp_path / "journal").iterdir()) == []


async def test_lines_that_are_no_entries_are_set_aside_with_a_warning(
    store: Store, tmp_path: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    huge = msgspec.json.encode(make_entry(7, input_tokens=2**70))
    deep = msgspec.json.encode(make_entry(8)).replace(b'"key_a"', b"[" * 100_000)
    garbage = [b"garbage", b"[]", b"{}", b"\xff\xfe\x00", b'["a", 1]', huge, deep]
    lines = b"".join(line + b"\n" for line in garbage)
    write(tmp_path / "journal", "a", make_entry(1), lines, make_entry(2), b"\n\n", make_entry(3))
    with caplog.at_level(logging.WARNING):
        await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (3, 3)
    assert (tmp_path / "journal" / fold.REJECTED / "a.jsonl").read_bytes() == lines
    assert [record.getMessage() for record in caplog.records] == [
        "7 lines of the journal's segment a.jsonl are not entries; they were moved to rejected/"
    ]


async def test_an_id_that_is_known_counts_once_in_the_log_and_in_the_roll_up(store: Store, tmp_path: Path, make_entry: MakeEntry) -> None:
    first = [make_entry(number) for number in range(600)]
    write(tmp_path / "journal", "a", *first)
    await store.recover(tmp_path / "journal")
    again = [make_entry(number, cost_nano=1000) for number in range(500, 700)]
    write(tmp_path / "journal", "b", *again, *again, make_entry(800))
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (701, 701)
    expected = 600 * 7 + 100 * 1000 + 7
    assert await query(store, "SELECT sum(cost_nano) FROM requests") == [(expected,)]
    assert await query(store, "SELECT sum(cost_nano) FROM usage_days") == [(expected,)]


@pytest.mark.parametrize("step", ["insert", "charge", "save", "_unlink", "_read_lines", "_set_aside"])
async def test_a_failure_at_any_step_is_made_good_by_the_next_round(
    store: Store, tmp_path: Path, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    entries = [make_entry(number) for number in range(fold.GROUP_ROWS + 10)]
    write(tmp_path / "journal", "a", *entries[:100], b"garbage\n", *entries[100:])
    place = usage.Tally if step == "save" else fold
    whole = getattr(place, step)
    calls = 0

    def fail(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (1 if step in ("_unlink", "_set_aside") else 2):
            raise OSError("the power went")
        return whole(*arguments)

    monkeypatch.setattr(place, step, fail)
    with pytest.raises(OSError, match="the power went"):
        await store.recover(tmp_path / "journal")
    rows, summed = await count_rows(store)
    assert rows == summed
    monkeypatch.undo()
    await store.recover(tmp_path / "journal")
    assert await count_rows(store) == (len(entries), len(entries))
    assert (tmp_path / "journal" / fold.REJECTED / "a.jsonl").read_bytes() == b"garbage\n"
    assert [path.name for path in (tmp_path / "journal").iterdir()] == [fold.REJECTED]


async def test_run_goes_on_after_a_locked_database_and_folds_the_rest_when_stopped(
    store: Store, tmp_path: Path, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal", "w0")
    folder = store.fold(journal.directory, journal)
    journal.append(make_entry(1))
    flush, rounds = folder.flush, 0

    async def fail_twice(*, everyone: bool) -> None:
        nonlocal rounds
        rounds += 1
        if rounds <= 2:
            raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))
        await flush(everyone=everyone)
        if rounds <= 4:
            journal.append(make_entry(rounds))
        if rounds == 4:
            journal.close()
            folder.stop()

    monkeypatch.setattr(fold, "INTERVAL_S", 0.001)
    monkeypatch.setattr(folder, "flush", fail_twice)
    with caplog.at_level(logging.ERROR):
        await folder.run()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["cannot fold the journal, will go on trying"]
    assert await count_rows(store) == (3, 3)
    assert list(journal.directory.iterdir()) == []


async def test_a_known_offset_is_not_read_again(
    store: Store, tmp_path: Path, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal", "w0")
    folder = store.fold(journal.directory, journal)
    journal.append(make_entry(1))
    await folder.flush()
    monkeypatch.setattr(fold, "_read_lines", None)  # an idle round touches neither the segment nor the database
    await folder.flush()
    journal.close()


async def test_kill_9_of_writers_and_folders_loses_nothing_and_counts_nothing_twice(store: Store, address: str, tmp_path: Path) -> None:
    """Three writers are killed at random moments while two folders work; folders are killed too; then what is left is recovered."""
    dice = random.Random(20_26)
    directory = tmp_path / "journal"
    announced: set[str] = set()
    for round_ in range(2):
        folders = [start("folder.py", address, directory, mode) for mode in ("all", "dead")]
        for process in folders:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        writers = {f"w{round_}{n}": start("appender.py", directory, f"w{round_}{n}", 0, 0) for n in range(3)}
        for name, process in writers.items():
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.randrange(200, 900))]
            process.send_signal(signal.SIGKILL)
            lines += [line for line in process.stdout.readlines() if line.endswith(b"\n")]
            announced |= {f"{name}_{int(line)}" for line in lines}
        folders[0].send_signal(signal.SIGKILL)
        folders[1].communicate(b"\n", timeout=PATIENCE_S)
        assert folders[1].returncode == 0
        for process in (*writers.values(), folders[0]):
            process.communicate(timeout=PATIENCE_S)
    await store.recover(directory)
    ids = {name for (name,) in await query(store, "SELECT request_id FROM requests")}
    assert announced <= ids
    assert len(ids - announced) <= 6  # written, and killed before it was said
    assert await count_rows(store) == (len(ids), len(ids))
    assert list(directory.glob("*.jsonl")) == []


async def test_processes_that_fold_the_same_segments_at_once_count_each_line_once(store: Store, address: str, tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    folders = [start("folder.py", address, directory, "all") for _ in range(2)]
    writers = [start("appender.py", directory, name, 0, 1500) for name in ("a", "b")]
    for process in writers:
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    for process in folders:
        _, errors = process.communicate(b"\n", timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, b"")
    await store.recover(directory)
    assert await count_rows(store) == (3000, 3000)
    assert await query(store, "SELECT sum(input_tokens), sum(cost_nano) FROM usage_days") == [(3000, 3000)]
    assert await query(store, "SELECT count(*) FROM journal_offsets WHERE folded_bytes < 0") == [(0,)]


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, HERE / script, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
