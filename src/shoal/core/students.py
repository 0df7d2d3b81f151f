"""The names of students: `ft:BASE:ORG:NAME:VERSION`, as OpenAI names fine-tuned models, and the folder names that they become on disk.

A name says whose a student is for people; what decides is the organisation's id on its card. The name without a version is an alias of the
version that is current. Every part is made of small letters, digits and single dashes, so a folder name leads back to one name alone.
"""

import re
import unicodedata

import msgspec

PREFIX = "ft:"
_OPERATOR = "org_operator"
_PART = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_NAME = re.compile(rf"ft:(?P<base>{_PART}):(?P<org>{_PART}):(?P<name>{_PART})(?::(?P<version>[1-9]\d{{0,8}}))?")
_LONGEST_ORG, _LONGEST_NAME = 24, 40
_TAKEN = frozenset({"floor", "nitro", "free"})  # at the end of a model's name these mean a way of choosing (routing/names.py)


class StudentName(msgspec.Struct, frozen=True):
    """A student's name in its parts; a `version` of None means the current one."""

    base: str
    org: str
    name: str
    version: int | None = None

    def __str__(self) -> str:
        alias = f"{PREFIX}{self.base}:{self.org}:{self.name}"
        return alias if self.version is None else f"{alias}:{self.version}"

    @property
    def alias(self) -> "StudentName":
        """The same name without its version."""
        return msgspec.structs.replace(self, version=None)

    def numbered(self, version: int) -> "StudentName":
        """The same name with this version."""
        return msgspec.structs.replace(self, version=version)


def parse_name(text: str) -> StudentName | None:
    """A student's name, or None where the text is none."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    version = found["version"]
    return StudentName(found["base"], found["org"], found["name"], None if version is None else int(version))


def folder_of(model: str) -> str:
    """The name of the folder that holds a local model: of a student's name, of a hub's, or of a plain one."""
    return re.sub(r"[^\w.-]+", "--", model.removeprefix("hf:"))


def name_in(folder: str) -> StudentName | None:
    """The student's name that became this folder name, or None."""
    parts = folder.split("--")
    return parse_name(":".join(parts)) if len(parts) in (4, 5) else None


def org_part(org_id: str, org_name: str, digits: int = 6) -> str:
    """What stands for an organisation in names: two of one name differ by the first digits of their ids. The operator's needs none."""
    if org_id == _OPERATOR:
        return slug(org_name, _LONGEST_ORG) or "operator"
    begin = re.sub(r"[^a-z0-9]", "", org_id.removeprefix("org_").lower())[:digits]
    return "-".join(part for part in (slug(org_name, _LONGEST_ORG), begin) if part) or "org"


def name_part(name: str) -> str:
    """What stands for a student's own name; "student" where nothing is left of it."""
    made = slug(name, _LONGEST_NAME) or "student"
    return f"{made}-student" if made in _TAKEN or made.isdigit() else made


def slug(text: str, longest: int) -> str:
    """Small letters, digits and single dashes, at most `longest` of them; accents are dropped, other letters become dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:longest].strip("-")
