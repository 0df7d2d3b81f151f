"""The last step of the recipe: a student goes on the shelf of the local model, where it is served at once, without a restart.

Names are `ft:BASE:ORG:NAME:VERSION`; the name without a version is an alias of the current one. What lies on the shelf, and how it goes
back and away, is mini/shelf.py's.
"""

from pathlib import Path

from shoal.mini import shelf
from shoal.mini.shelf import Published, ShelfError

__all__ = ["Published", "ShelfError", "list_students", "publish", "roll_back"]


def publish(home: Path, directory: Path, org_id: str, org_name: str, suffix: str) -> str:
    """Publish a copy of the student in `directory` for an organisation, as the next version of `suffix`; the name it is served under.

    Errors: ShelfError for a directory that holds no student; OSError, such as for a full disk, with nothing left behind.
    """
    return shelf.publish(home, directory, org_id, org_name, suffix)


def roll_back(home: Path, name: str) -> str:
    """Let an alias lead to the version that was current before, or to the version that is named; its name. Errors: ShelfError."""
    return shelf.make_current(home, name)


def list_students(home: Path) -> list[Published]:
    """Every version of every student that can be read."""
    return shelf.list_students(home)
