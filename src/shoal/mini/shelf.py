"""The students of one installation as they lie in HOME/weights: which there are, which version is current, how they come, change and go.

A version is one directory, which never changes, and appears and goes by one rename. NAME.lineage beside it says which versions were made
current, in order, and the highest number that was ever given; where it is missing or damaged (a directory was copied here alone), the
highest version is current. Whoever changes anything holds the lock of the home; reading needs none.
"""

import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shoal.core.students import StudentName, folder_of, name_in, name_part, org_part, parse_name
from shoal.mini.card import FILE, Card, read_card, write_card

_log = logging.getLogger(__name__)
_LOCK_FILE = "students.lock"
_COMING, _GOING = ".partial", ".gone"
_ABANDONED_S = 3600.0  # a copy that nobody has touched for so long was broken off


class ShelfError(Exception):
    """What was asked cannot be done; the message says why."""


class Published(msgspec.Struct, frozen=True):
    """One version of a student. `current`: its alias leads here."""

    name: StudentName
    directory: Path
    card: Card
    current: bool = False

    @property
    def id(self) -> str:
        """The name in full."""
        return str(self.name)


class _Lineage(msgspec.Struct, frozen=True):
    """What is known of all versions of a name. `current` are the versions that were made current, the present one last."""

    org_id: str
    latest: int
    current: tuple[int, ...] = ()


def list_students(home: Path) -> list[Published]:
    """Every version of every student, by name and version. What cannot be read is passed over, and said in the log."""
    return Shelf(home).students


class Shelf:
    """The students of a home, followed: `refresh` is cheap while nothing changes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._cards: dict[Path, tuple[tuple[int, int, int], Card]] = {}
        self._seen: tuple[int, float] | None = None
        self._unread = False
        self.students: list[Published] = []
        self._found: dict[str, Published] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Look again if the directory has changed since, or holds what could not be read; whether anything is different."""
        directory = self.home / "weights"
        try:
            changed_ns = directory.stat().st_mtime_ns
        except OSError:
            changed_ns = 0
        # a change in the same tick as the look before would leave no trace in the time
        fresh = self._seen is not None and self._seen[0] == changed_ns and self._seen[1] - changed_ns / 1e9 > 1.0
        if fresh and not self._unread:
            return False
        self._seen = (changed_ns, time.time())
        found = self._read(directory)
        if found == self.students:
            return False
        self.students = found
        self._found = {one.id: one for one in found} | {str(one.name.alias): one for one in found if one.current}
        return True

    def find(self, name: str) -> Published | None:
        """A version by its name, or by its alias."""
        return self._found.get(name)

    def _read(self, directory: Path) -> list[Published]:
        self._unread = False
        cards: dict[StudentName, tuple[Path, Card]] = {}
        for folder in _folders(directory):
            name = name_in(folder.name)
            card = None if name is None or name.version is None else self._card(folder)
            if name is not None and card is not None:
                cards[name] = (folder, msgspec.structs.replace(card, name=str(name)))
        self._cards = {folder: known for folder, known in self._cards.items() if any(folder == one for one, _ in cards.values())}
        families: dict[StudentName, list[int]] = {}
        for name in cards:
            families.setdefault(name.alias, []).append(name.version or 0)
        current = {alias: _current(directory, alias, versions) for alias, versions in families.items()}
        made = [Published(name, folder, card, current[name.alias] == name.version) for name, (folder, card) in cards.items()]
        return sorted(made, key=lambda one: (str(one.name.alias), one.name.version))

    def _card(self, folder: Path) -> Card | None:
        try:
            at = (folder / FILE).stat()
            mark = (at.st_mtime_ns, at.st_size, at.st_ino)
            known = self._cards.get(folder)
            if known is None or known[0] != mark:
                known = self._cards[folder] = (mark, read_card(folder))
                if not known[1].org_id:
                    _log.warning("%s says of no organisation that it owns it: only the operator's own may use it", folder / FILE)
            return known[1]
        except (OSError, msgspec.MsgspecError) as error:
            if not self._unread:
                _log.warning("a student is passed over, %s cannot be read (yet): %s", folder / FILE, error)
            self._unread = True
            return None


def publish(home: Path, directory: Path, org_id: str, org_name: str, name: str) -> str:
    """Put a copy of a student's `directory` on the shelf as the next version of `name`, and make it current; its name.

    Errors: ShelfError for a directory that holds no student; OSError, such as for a full disk, with nothing left behind.
    """
    try:
        card = read_card(directory)
    except (OSError, msgspec.MsgspecError) as error:
        raise ShelfError(f"{directory} holds no student that can be read: {error}") from error
    if card.kind == "embedding":
        raise ShelfError(f"{directory} holds a sentence model, which is no student")
    weights = home / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    coming = weights / f"publishing-{secrets.token_hex(8)}{_COMING}"
    try:
        shutil.copytree(directory, coming, symlinks=False)
        with _locked(weights):
            _sweep(weights, coming)
            student = _name_for(weights, card.base or "minnow", org_id, org_name, name)
            lineage = _read_lineage(weights, student) or _Lineage(org_id, 0)
            given = student.numbered(max([lineage.latest, *_versions(weights, student)]) + 1)
            made = msgspec.structs.replace(card, name=str(given), org_id=org_id, base=student.base, made_at=int(time.time()))
            write_card(coming, made)
            _settle(coming)
            # first the lineage, so that a number is never given twice; a version that is not there is nobody's current
            history = (*lineage.current[-999:], given.version or 0)
            _write_lineage(weights, student, _Lineage(org_id, given.version or 0, history))
            coming.rename(weights / folder_of(str(given)))
    except BaseException:
        shutil.rmtree(coming, ignore_errors=True)
        raise
    return str(given)


def make_current(home: Path, name: str) -> str:
    """Let a name's alias lead to this version; or, for an alias, back to the version that was current before. The version's name.

    Errors: ShelfError where there is no such version.
    """
    student, weights = _parse(name), home / "weights"
    with _locked(weights):
        versions = _versions(weights, student)
        if not versions:
            raise ShelfError(f"there is no student {name!r} here")
        lineage = _read_lineage(weights, student) or _Lineage(_owner(weights, student, versions), max(versions))
        history = _history(lineage, versions)
        if student.version is not None:
            if student.version not in versions:
                raise ShelfError(f"there is no student {name!r} here; there are the versions {', '.join(map(str, versions))}")
            history = (*(one for one in history if one != student.version), student.version)
        elif len(history) < 2:
            raise ShelfError(f"{student} has no version before the current one to go back to")
        else:
            history = history[:-1]
        _write_lineage(weights, student, msgspec.structs.replace(lineage, current=history, latest=max(lineage.latest, *versions)))
    return str(student.numbered(history[-1]))


def delete(home: Path, name: str) -> list[str]:
    """Take a version off the shelf, or, for an alias, all of them; the names that are gone. Answers under way are finished.

    Errors: ShelfError where there is no such student.
    """
    student, weights = _parse(name), home / "weights"
    with _locked(weights):
        versions = _versions(weights, student)
        wanted = versions if student.version is None else [one for one in versions if one == student.version]
        if not wanted:
            raise ShelfError(f"there is no student {name!r} here")
        lineage = _read_lineage(weights, student) or _Lineage(_owner(weights, student, versions), max(versions))
        left = tuple(one for one in _history(lineage, versions) if one not in wanted)
        _write_lineage(weights, student, msgspec.structs.replace(lineage, current=left, latest=max(lineage.latest, *versions)))
        gone = [str(student.numbered(one)) for one in wanted]
        for one in gone:
            going = weights / f"{folder_of(one)}-{secrets.token_hex(4)}{_GOING}"
            (weights / folder_of(one)).rename(going)
            shutil.rmtree(going, ignore_errors=True)  # what cannot be deleted now is swept up later
    return gone


def _parse(name: str) -> StudentName:
    student = parse_name(name)
    if student is None:
        raise ShelfError(f"{name[:100]!r} is no student's name, such as ft:minnow:acme:support:3")
    return student


def _name_for(weights: Path, base: str, org_id: str, org_name: str, name: str) -> StudentName:
    """The name for an organisation's student: the one that it has had so far, else one that is nobody else's."""
    base = name_part(base)
    for file in weights.glob(f"{folder_of(f'ft:{base}:x')[:-1]}*--{name_part(name)}.lineage"):
        had = name_in(file.stem)
        lineage = None if had is None else _read_lineage(weights, had)
        if had is not None and lineage is not None and lineage.org_id == org_id and had.name == name_part(name):
            return had
    for digits in (6, len(org_id)):
        made = StudentName(base, org_part(org_id, org_name, digits), name_part(name))
        lineage, versions = _read_lineage(weights, made), _versions(weights, made)
        owner = lineage.org_id if lineage is not None else _owner(weights, made, versions) if versions else org_id
        if owner == org_id:
            return made
    raise ShelfError(f"the name {made} belongs to another organisation")


def _owner(weights: Path, student: StudentName, versions: Sequence[int]) -> str:
    """Whose a student is that has no lineage: as the card of its newest version says that can be read."""
    for version in sorted(versions, reverse=True):
        try:
            return read_card(weights / folder_of(str(student.numbered(version)))).org_id
        except (OSError, msgspec.MsgspecError):
            continue
    return ""


def _folders(weights: Path) -> Iterator[Path]:
    try:
        yield from (folder for folder in weights.iterdir() if folder.name.startswith("ft--") and folder.is_dir())
    except OSError:
        return


def _versions(weights: Path, student: StudentName) -> list[int]:
    """The versions that are there, damaged ones too, in order."""
    names = [name_in(folder.name) for folder in _folders(weights)]
    return sorted(name.version for name in names if name is not None and name.version is not None and name.alias == student.alias)


def _current(weights: Path, student: StudentName, versions: Sequence[int]) -> int:
    """Which of the versions that are there is the current one."""
    lineage = _read_lineage(weights, student)
    there = [one for one in (lineage.current if lineage is not None else ()) if one in versions]
    return there[-1] if there else max(versions)


def _history(lineage: _Lineage, versions: Sequence[int]) -> tuple[int, ...]:
    """The versions that were current and still are there, in order; all that are there, where nothing is known of that."""
    return tuple(one for one in lineage.current if one in versions) or tuple(sorted(versions))


def _lineage_file(weights: Path, student: StudentName) -> Path:
    return weights / f"{folder_of(str(student.alias))}.lineage"


def _read_lineage(weights: Path, student: StudentName) -> _Lineage | None:
    try:
        return msgspec.json.decode(_lineage_file(weights, student).read_bytes(), type=_Lineage)
    except (OSError, msgspec.MsgspecError):
        return None


def _write_lineage(weights: Path, student: StudentName, lineage: _Lineage) -> None:
    file = _lineage_file(weights, student)
    partial = file.with_name(f"{file.name}{_COMING}")
    partial.write_bytes(msgspec.json.encode(lineage))
    partial.replace(file)


def _settle(directory: Path) -> None:
    """Have the disk keep what was written before it is named."""
    for file in directory.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _sweep(weights: Path, mine: Path) -> None:
    """Delete what was broken off: deletions, and copies that nobody goes on with."""
    for folder in weights.glob(f"*{_GOING}"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in weights.glob(f"publishing-*{_COMING}"):
        try:
            newest = max(file.stat().st_ctime for file in (folder, *folder.rglob("*")))  # the times of the source are copied, this one not
        except OSError:
            continue
        if folder != mine and time.time() - newest > _ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(weights: Path) -> Iterator[None]:
    weights.mkdir(parents=True, exist_ok=True)
    with (weights / _LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
