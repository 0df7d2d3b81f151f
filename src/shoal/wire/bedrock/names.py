"""Names and ids that Bedrock takes: a tool's is [a-zA-Z0-9_-]{1,64}, a tool use's [a-zA-Z0-9_.:-]{1,64}.

What does not fit is replaced by what does, the same for the same name every time, and given back to the caller as it was.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
"""

import re
from collections.abc import Iterator
from hashlib import sha256

from shoal.core.conversation import Conversation, ToolCall

_MOST = 64
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NO_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_NO_TITLE = re.compile(r"[^a-zA-Z0-9\s()\[\]-]")


def tool_name(name: str) -> str:
    """A function's name as Bedrock takes it."""
    return _fit(name, _NO_NAME)


def use_id(id: str) -> str:
    """A call's id as Bedrock takes it."""
    return _fit(id, _NO_ID)


def _fit(text: str, wrong: re.Pattern[str]) -> str:
    if text and len(text) <= _MOST and wrong.search(text) is None:
        return text
    mark = sha256(text.encode()).hexdigest()[:10]
    return f"{wrong.sub('_', text)[: _MOST - 11]}_{mark}"


def renamed(conversation: Conversation) -> dict[str, str]:
    """The caller's names of tools that had to be renamed, by Bedrock's."""
    return {fitted: name for name in _names(conversation) if (fitted := tool_name(name)) != name}


def _names(conversation: Conversation) -> Iterator[str]:
    yield from (tool.name for tool in conversation.tools)
    for message in conversation.messages:
        yield from (part.name for part in message.parts if isinstance(part, ToolCall))


class Titles:
    """Names of documents, each once in a request: letters, digits, single spaces, hyphens, parentheses, brackets, at most 200.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._count = 0

    def take(self, name: str | None) -> str:
        """A name for the next document: its own as far as it may be, and a number where that is not enough."""
        self._count += 1
        plain = " ".join(_NO_TITLE.sub(" ", (name or "").rpartition(".")[0] or name or "").split())[:180].strip()
        title = plain or f"Document {self._count}"
        if title in self._taken:
            title = f"{title} {self._count}"
        self._taken.add(title)
        return title
