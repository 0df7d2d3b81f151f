"""Which key of a TOML text an error is about, and on which line it is. tomllib tells values, not places, and msgspec paths, not lines."""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(
    r"""
    "{3}(?:\\.|[^\\])*?"{3,5} | '{3}.*?'{3,5}          # texts of several lines
    | "(?:\\.|[^"\\\n])*" | '[^'\n]*'                  # texts of one
    | \#[^\n]* | [][{}=,.\n] | [^][{}=,.\s"'\#]+       # comments, signs, bare words
    """,
    re.DOTALL | re.VERBOSE,
)
Path = tuple[str, ...]
_BARE = re.compile(r"[\w*-]+")


def find_line(text: str, keys: Sequence[str]) -> int | None:
    """The line, from 1, where a key is set, or else the nearest table around it; "*" is any one key, a number a place in an array.

    `text` must be valid TOML. None: neither the key nor a table around it is in the text.
    """
    best, depth = None, 0
    for path, line in _Reader(text).read().items():
        if depth < len(path) <= len(keys) and all(key in ("*", part) for part, key in zip(path, keys, strict=False)):
            best, depth = line, len(path)
    return best


def place(source: str, text: str, keys: Sequence[str]) -> str:
    """`file:line` of a key of a TOML text, or of the table nearest to it; the file alone where the text has neither."""
    line = find_line(text, keys)
    return source if line is None else f"{source}:{line}"


def explain(text: str) -> tuple[str, list[str]]:
    """What msgspec found wrong, in a ValidationError's text, and the keys where; "*" is one that it does not tell."""
    what, _, where = text.partition(" - at `$")
    keys = re.findall(r"[^.\[\]]+|\.\.\.", where.rstrip("`"))
    unknown = re.search(r"unknown field `(.+)`", what)
    missing = re.search(r"missing required field `(.+)`", what)
    if unknown:
        what = f"there is no such key: '{unknown[1]}'"
    keys = ["*" if key == "..." else key for key in keys]
    return what.replace("`", "'"), [*keys, unknown[1]] if unknown and not missing else keys


def dotted(keys: Sequence[str]) -> str:
    """Keys as TOML writes them, and a colon; nothing for no keys."""
    text = ""
    for key in keys:
        written = key if _BARE.fullmatch(key) else f'"{key}"'
        text += f"[{key}]" if key.isdigit() else f".{written}"
    return f"{text.lstrip('.')}: " if text else ""


class _Reader:
    """Walks over the words and notes where every key, table and place of an array begins."""

    def __init__(self, text: str) -> None:
        self._words = [(found[0], text.count("\n", 0, found.start()) + 1) for found in _WORD.finditer(text) if found[0][0] != "#"]
        self._at = 0
        self._found: dict[Path, int] = {}
        self._elements: Counter[Path] = Counter()

    def read(self) -> dict[Path, int]:
        table: Path = ()
        while word := self._word():
            if word == "\n":
                self._at += 1
            elif word == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._found

    def _word(self) -> str:
        return self._words[self._at][0] if self._at < len(self._words) else ""

    def _note(self, path: Path) -> None:
        if self._at < len(self._words):
            self._found.setdefault(path, self._words[self._at][1])

    def _key(self, end: str) -> Path:
        parts: list[str] = []
        while (word := self._word()) and word != end:
            parts += [] if word == "." else [word.strip("\"'")]
            self._at += 1
        self._at += 1
        return tuple(parts)

    def _header(self) -> Path:
        start, several = self._at, self._words[self._at + 1][0] == "["
        self._at += 2 if several else 1
        path = self._key("]")
        self._at, after = start, self._at + several
        if several:
            self._elements[path] += 1
            path = (*path, str(self._elements[path] - 1))
        self._note(path)
        self._at = after
        return path

    def _assignment(self, table: Path) -> None:
        start = self._at
        key = self._key("=")
        self._at, value = start, self._at
        self._note((*table, *key))
        self._at = value
        self._value((*table, *key))

    def _value(self, path: Path) -> None:
        opened = self._word()
        self._at += 1
        if opened not in ("[", "{"):
            while self._word() not in (",", "]", "}", "\n", ""):  # 1.5 and dates are several words
                self._at += 1
            return
        number = 0
        while (word := self._word()) not in ("]", "}", ""):
            if word in (",", "\n"):
                number += word == ","
                self._at += 1
            elif opened == "{":
                self._assignment(path)
            else:
                self._note((*path, str(number)))
                self._value((*path, str(number)))
        self._at += 1
