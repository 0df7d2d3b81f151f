"""The lines of a file while it is uploaded: whether each is what the file's purpose needs, found without keeping the file.

https://platform.openai.com/docs/guides/supervised-fine-tuning#formatting-your-data
https://platform.openai.com/docs/guides/batch#1-prepare-your-batch-file
What a line says may still teach nothing; that is looked at when it is used.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.errors import Fault

MOST_LINE_BYTES = 16 * 1024 * 1024


class _Line(msgspec.Struct):
    messages: list[dict[str, Any]] | None = None
    prompt: str | None = None
    input: dict[str, Any] | None = None
    custom_id: str | None = None
    url: str | None = None
    body: dict[str, Any] | None = None


_line = msgspec.json.Decoder(_Line)
NEEDS: Mapping[str, str] = {
    "fine-tune": "an object with 'messages', 'prompt' or 'input'",
    "batch": "an object with 'custom_id', 'url' and 'body'",
    "evals": "a JSON object",
}
"""What each line of a file must be, by its purpose."""


class Lines:
    """What is wrong with a file, by its purpose: its first line that does not fit."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._full = False
        self._wrong: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Look at what these bytes complete."""
        if len(self._wrong) == len(NEEDS):
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._look(line)
        if len(self._rest) > MOST_LINE_BYTES:
            self._number += 1
            self._blame(f"it is longer than {MOST_LINE_BYTES // 2**20} MiB", *NEEDS)

    def check(self, purpose: str) -> None:
        """The file has ended. Errors: Fault invalid_value, with the number of the line."""
        if purpose not in self._wrong:
            self._look(self._rest)
        if purpose in self._wrong:
            raise Fault("invalid_value", f"A file for {purpose!r} is JSON Lines. {self._wrong[purpose]}", param="file")
        if not self._full:
            raise Fault("invalid_value", f"A file for {purpose!r} is JSON Lines, and this one has none.", param="file")

    def _look(self, line: bytes) -> None:
        self._number += 1
        if not line.strip():
            return
        self._full = True
        try:
            line.decode()
            read = _line.decode(line.removeprefix(b"\xef\xbb\xbf") if self._number == 1 else line)
        except UnicodeDecodeError:
            self._blame("it is no UTF-8", *NEEDS)
        except msgspec.ValidationError as error:
            self._blame(str(error), *NEEDS)
        except (msgspec.DecodeError, RecursionError):
            self._blame("it is no JSON", *NEEDS)
        else:
            if read.messages is None and read.prompt is None and read.input is None:
                self._blame("", "fine-tune")
            if read.custom_id is None or read.url is None or read.body is None:
                self._blame("", "batch")

    def _blame(self, why: str, *purposes: str) -> None:
        for purpose in purposes:
            reason = f": {why}" if why else ""
            self._wrong.setdefault(purpose, f"Line {self._number} is not {NEEDS[purpose]}{reason}.")
