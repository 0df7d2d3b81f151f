"""shelf.py: students come whole or not at all, with numbers that nobody else gets, and go back and away by one call."""

import errno
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shoal.mini import catalogue
from shoal.mini.card import FILE, Card, write_card
from shoal.mini.shelf import Shelf, ShelfError, delete, list_students, make_current, publish

ACME, OTHER = "org_aaaaaaaaaaaaaaaa", "org_aaaaaabbbbbbbbbb"
ALIAS = "ft:minnow:acme-aaaaaa:support"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A student as training leaves it."""
    directory = tmp_path / "made"
    directory.mkdir()
    write_card(directory, Card("unnamed", "head", "head", 256, base="minnow"))
    (directory / "head.npz").write_bytes(b"numbers")
    return directory


def publish_acme(home: Path, made: Path, name: str = "support") -> str:
    return publish(home, made, ACME, "Acme", name)


def current(home: Path, alias: str = ALIAS) -> str | None:
    found = Shelf(home).find(alias)
    return None if found is None else found.id


def test_versions_count_up_and_the_newest_is_current(tmp_path: Path, made: Path) -> None:
    assert [publish_acme(tmp_path, made) for _ in range(3)] == [f"{ALIAS}:1", f"{ALIAS}:2", f"{ALIAS}:3"]
    listed = list_students(tmp_path)
    assert [(one.id, one.current) for one in listed] == [(f"{ALIAS}:1", False), (f"{ALIAS}:2", False), (f"{ALIAS}:3", True)]
    card = listed[2].card
    assert (card.name, card.org_id, card.base, card.kind) == (f"{ALIAS}:3", ACME, "minnow", "head")
    assert time.time() - 60 < card.made_at <= time.time()
    assert (listed[2].directory / "head.npz").read_bytes() == b"numbers"
    assert catalogue.find_directory(tmp_path, f"{ALIAS}:3") == listed[2].directory
    assert (made / FILE).exists()
    assert catalogue.list_models(tmp_path) == []


def test_back_and_forth(tmp_path: Path, made: Path) -> None:
    for _ in range(3):
        publish_acme(tmp_path, made)
    assert make_current(tmp_path, ALIAS) == f"{ALIAS}:2" == current(tmp_path)
    assert make_current(tmp_path, ALIAS) == f"{ALIAS}:1" == current(tmp_path)
    with pytest.raises(ShelfError, match="no version before"):
        make_current(tmp_path, ALIAS)
    assert make_current(tmp_path, f"{ALIAS}:3") == f"{ALIAS}:3" == current(tmp_path)
    assert make_current(tmp_path, ALIAS) == f"{ALIAS}:1"  # what was current before, not what is one less
    assert publish_acme(tmp_path, made) == f"{ALIAS}:4" == current(tmp_path)
    for name, what in (
        (f"{ALIAS}:9", "there are the versions 1, 2, 3, 4"),
        ("ft:minnow:acme:no", "there is no student"),
        ("x", "no student's"),
    ):
        with pytest.raises(ShelfError, match=what):
            make_current(tmp_path, name)


def test_what_is_deleted_is_gone_and_its_number_with_it(tmp_path: Path, made: Path) -> None:
    for _ in range(3):
        publish_acme(tmp_path, made)
    assert delete(tmp_path, f"{ALIAS}:3") == [f"{ALIAS}:3"]
    assert current(tmp_path) == f"{ALIAS}:2"
    assert publish_acme(tmp_path, made) == f"{ALIAS}:4"
    assert delete(tmp_path, ALIAS) == [f"{ALIAS}:{number}" for number in (1, 2, 4)]
    assert list_students(tmp_path) == [] and current(tmp_path) is None
    with pytest.raises(ShelfError, match="there is no student"):
        delete(tmp_path, ALIAS)
    assert publish_acme(tmp_path, made) == f"{ALIAS}:5"


def test_organisations_of_one_name_share_nothing(tmp_path: Path, made: Path) -> None:
    assert publish_acme(tmp_path, made) == f"{ALIAS}:1"
    theirs = publish(tmp_path, made, OTHER, "Acme", "support")
    assert theirs == f"ft:minnow:acme-{OTHER[4:]}:support:1"  # their ids begin alike
    assert publish(tmp_path, made, ACME, "Acme Renamed", "support") == f"{ALIAS}:2"  # a new name of the organisation changes nothing
    assert publish(tmp_path, made, OTHER, "Acme", "support") == f"ft:minnow:acme-{OTHER[4:]}:support:2"
    owners = {one.id: one.card.org_id for one in list_students(tmp_path)}
    assert set(owners.values()) == {ACME, OTHER} and len(owners) == 4


def test_several_publish_at_once(tmp_path: Path, made: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from shoal.mini.shelf import publish\n"
        f"for _ in range(5): print(publish(Path({str(tmp_path)!r}), Path({str(made)!r}), {ACME!r}, 'Acme', 'support'), flush=True)"
    )
    others = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda _: publish_acme(tmp_path, made), range(10)))
    for other in others:
        names += other.communicate(timeout=60)[0].split()
    assert sorted(names) == sorted(f"{ALIAS}:{number}" for number in range(1, 26))
    assert current(tmp_path) == f"{ALIAS}:25"


def test_killed_while_publishing_nothing_half_is_there(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_acme(tmp_path, made)
    script = (
        "import os, signal, sys; from pathlib import Path; from shoal.mini import shelf\n"
        "at = sys.argv[1]; real = getattr(shelf, at)\n"
        "def stop(*given):\n    if at == '_write_lineage': real(*given)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "setattr(shelf, at, stop)\n"
        f"shelf.publish(Path({str(tmp_path)!r}), Path({str(made)!r}), {ACME!r}, 'Acme', 'support')"
    )
    for at in ("_settle", "_write_lineage"):
        done = subprocess.run([sys.executable, "-c", script, at], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert [one.id for one in list_students(tmp_path)] == [f"{ALIAS}:1"] and current(tmp_path) == f"{ALIAS}:1"
    assert publish_acme(tmp_path, made) == f"{ALIAS}:3"  # 2 may have been told
    abandoned = list((tmp_path / "weights").glob("publishing-*"))
    assert len(abandoned) == 2
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 7200)
    publish_acme(tmp_path, made)
    assert list((tmp_path / "weights").glob("publishing-*")) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(OSError, match="No space left"):
        publish_acme(tmp_path, made)
    assert [one.name for one in (tmp_path / "weights").iterdir()] == []


def test_what_holds_no_student_is_refused(tmp_path: Path, made: Path) -> None:
    with pytest.raises(ShelfError, match="no student that can be read"):
        publish_acme(tmp_path, tmp_path / "nothing")
    (made / FILE).write_text("{")
    with pytest.raises(ShelfError, match="no student that can be read"):
        publish_acme(tmp_path, made)
    write_card(made, Card("e", "embedding", "embedding", 256))
    with pytest.raises(ShelfError, match="sentence model"):
        publish_acme(tmp_path, made)


def test_a_follower_sees_every_change_and_passes_over_what_is_damaged(tmp_path: Path, made: Path) -> None:
    follower = Shelf(tmp_path)
    assert follower.students == [] and not follower.refresh()
    first = publish_acme(tmp_path, made)
    assert follower.refresh() and follower.find(ALIAS) is follower.find(first)
    assert not follower.refresh()
    half = tmp_path / "weights" / "ft--minnow--acme-aaaaaa--support--2"
    half.mkdir()
    assert not follower.refresh()
    (half / FILE).write_text('{"name": "x", "kind": "he')
    assert not follower.refresh() and follower.find(f"{ALIAS}:2") is None
    shutil.copyfile(made / FILE, half / FILE)  # a copy into a directory that was there already: its parent does not change
    assert follower.refresh() and follower.find(f"{ALIAS}:2") is not None
    assert current(tmp_path) == first  # it was not published, but copied
    (tmp_path / "weights" / f"{half.name[:-3]}.lineage").write_text("damaged")
    assert current(tmp_path) == f"{ALIAS}:2"
    assert make_current(tmp_path, ALIAS) == first
    delete(tmp_path, ALIAS)
    assert follower.refresh() and follower.students == [] and follower.find(ALIAS) is None


def test_a_damaged_student_can_be_deleted(tmp_path: Path, made: Path) -> None:
    name = publish_acme(tmp_path, made)
    (catalogue.find_directory(tmp_path, name) / FILE).write_text("{")
    assert list_students(tmp_path) == []
    assert delete(tmp_path, name) == [name]


def test_fifty_students(tmp_path: Path, made: Path) -> None:
    for number in range(50):
        publish_acme(tmp_path, made, f"s{number}")
    follower = Shelf(tmp_path)
    assert len(follower.students) == 50 and all(one.current for one in follower.students)
