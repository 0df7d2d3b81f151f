"""Whether a file can be learnt from: told when a job is made, before anything of it waits in a queue.

A line of OpenAI's format is an object with `messages`, or with `prompt` and `completion`. Lines that teach nothing (empty, too long, no
answer) are left out later, and counted; here it is only looked at whether this is such a file, and whether enough lines are left.
"""

from collections.abc import Iterator

import msgspec

from shoal.core.errors import Fault

LEAST_ROWS = 10
MOST_LINE_BYTES = 512 * 1024


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    messages: list[_Message] | None = None
    prompt: str | None = None
    completion: str | None = None

    @property
    def asks(self) -> bool:
        return bool(self.prompt) or any(one.role == "user" and one.content for one in self.messages or ())

    @property
    def answers(self) -> bool:
        last = self.messages[-1] if self.messages else None
        return bool(self.completion) or (last is not None and last.role == "assistant" and bool(last.content))


_line = msgspec.json.Decoder(_Line)


def check_rows(data: bytes, param: str, *, taught: bool, least: int = LEAST_ROWS) -> None:
    """Whether at least `least` lines can be learnt from; where `taught`, a teacher answers those without an answer. Errors: Fault."""
    good = lines = 0
    first = ""
    for number, line in _lines(data):
        lines += 1
        wrong = _find_fault(line, taught)
        good += not wrong
        first = first or (f" Line {number}: {wrong}." if wrong else "")
    if good < least:
        text = f"The file has {good} {'row' if good == 1 else 'rows'} to learn from, and at least {least} are needed."
        raise Fault("invalid_value", f"{text} It holds {lines} lines.{first}", param=param)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _find_fault(line: bytes, taught: bool) -> str:
    """What is wrong with a line; "" where nothing is."""
    if len(line) > MOST_LINE_BYTES:
        return f"it is longer than {MOST_LINE_BYTES // 1024} KiB"
    try:
        read = _line.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "it is no JSON object with 'messages', or with 'prompt' and 'completion'"
    if not read.asks:
        return "it asks nothing"
    return "" if taught or read.answers else "it does not end with an answer of the assistant's"
