"""Turns as a family's models take them: who begins, what may stand beside a tool's result, where that leads to a turn of nothing.

https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html says that roles take turns; what a family refuses
besides is told by its errors alone ("a conversation must start with a user message").
"""

from typing import Any

from shoal.wire.bedrock.families import Family

Block = dict[str, Any]

_NOTHING: Block = {"text": "."}  # an empty text is refused
_KINDS = ("text", "image", "document", "video", "audio")


class Turns:
    """The turns so far. What one role says in a row is one turn, as far as its parts may stand together."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._turns: list[Block] = []

    def add(self, role: str, content: list[Block]) -> None:
        """Add what a role says."""
        if not content:
            return
        if self._turns and self._turns[-1]["role"] == role:
            if self._fits(content):
                self._turns[-1]["content"] += content
                return
            self._turns.append({"role": "assistant", "content": [_NOTHING]})  # two turns of one role would be made one
        self._turns.append({"role": role, "content": content})

    def all(self) -> list[Block]:
        """The turns, at least one."""
        if not self._turns or (self._turns[0]["role"] == "assistant" and not self._family.may_begin):
            return [{"role": "user", "content": [_NOTHING]}, *self._turns]
        return self._turns

    def _fits(self, content: list[Block]) -> bool:
        """Whether it may stand in the last turn, beside the results of tools that may be there."""
        beside = self._family.beside_results
        if beside is None or not any("toolResult" in block for block in self._turns[-1]["content"]):
            return True
        return all(kind in beside for block in content for kind in block if kind in _KINDS)
