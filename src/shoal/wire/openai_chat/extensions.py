"""What callers may say beyond OpenAI's own words, said to a provider in its own way where it would refuse it, or pass it over.

A request that is forwarded keeps its bytes, but for these: how much to think, earlier thought, breakpoints of caches, `top_k`, proofs of
calls, sources, the role `developer`, and ids of calls where they must have nine characters. Most of them stand in the answers of other
providers, so that callers return them, and the next turn may go anywhere.
What is not known to be refused (manners.py) stays, as do the bytes of every message that has none of it.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.core.conversation import Reasoning
from shoal.wire.openai_chat import thoughts
from shoal.wire.openai_chat.manners import Adapted, Manner
from shoal.wire.openai_chat.requests import read_thinking, write_thinking
from shoal.wire.openai_chat.turns import Turns

_WORDS = rb"reasoning(?:_content|_details)?|thinking|top_k|cache_control|extra_content|annotations|refusal|developer"
_NAMES = re.compile(rb'"(?:%b)"' % _WORDS)
_NAMES_AND_IDS = re.compile(rb'"(?:%b|tool_calls|tool_call_id)"' % _WORDS)
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")
_HOW_MUCH = ("reasoning_effort", "reasoning", "thinking")

Members = dict[str, msgspec.Raw]


class _Thought(msgspec.Struct):
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[thoughts.Detail] | None = None


_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(Members)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_thought = msgspec.json.Decoder(_Thought)
_text = msgspec.json.Decoder(str | None)
_id = msgspec.json.Decoder(str)


def adapt(body: bytes, manner: Manner) -> Adapted | None:
    """What must change of a request's body; None for nothing. What cannot be read is left to the provider's own refusal."""
    names = _NAMES_AND_IDS if manner.nine_character_ids else _NAMES
    if not manner.refuses or names.search(body) is None:
        return None
    try:
        return _Adapting(manner, names).adapt(_members.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Adapting:
    """One request."""

    def __init__(self, manner: Manner, names: re.Pattern[bytes]) -> None:
        self._manner = manner
        self._names = names
        self._turns = Turns(manner)
        self._dropped: set[str] = set()

    def adapt(self, members: Members) -> Adapted | None:
        changes: dict[str, bytes] = {}
        without: list[str] = [name for name in ("reasoning", "thinking") if name in members and name in self._manner.refuses]
        wanted = read_thinking(_encode({name: members[name] for name in _HOW_MUCH if name in members})) if without else None
        if wanted is not None:
            changes |= {name: _encode(value) for name, value in write_thinking(wanted, self._manner).items()}
        if self._drop("top_k", members):
            without.append("top_k")
        for name, write in (("messages", self._message), ("tools", self._tool)):
            if (raw := self._each(members.get(name), write)) is not None:
                changes[name] = raw
        return Adapted(changes, tuple(without), tuple(sorted(self._dropped))) if changes or without else None

    def _each(self, raw: msgspec.Raw | None, write: Callable[[Members], bool]) -> bytes | None:
        """A list of objects, each written by `write`, which tells whether it changed anything; None where none did."""
        always = write == self._call and self._manner.nine_character_ids
        if raw is None or not (always or self._names.search(raw)):
            return None
        out, changed = [], False
        for one in _list.decode(raw):
            if always or self._names.search(one) is not None:
                members = _members.decode(one)
                if write(members):
                    one, changed = msgspec.Raw(_encode(members)), True
            out.append(one)
        return _encode(out) if changed else None

    def _tool(self, tool: Members) -> bool:
        return self._drop("cache_control", tool)

    def _drop(self, name: str, members: Members) -> bool:
        if name not in members or name not in self._manner.refuses:
            return False
        if bytes(members.pop(name)) != b"null":
            self._dropped.add(name)
        return True

    def _message(self, message: Members) -> bool:
        changed = self._drop("cache_control", message)
        for name, write in (("content", self._part), ("tool_calls", self._call)):
            raw = message.get(name)
            if raw is not None and bytes(raw)[:1] == b"[" and (written := self._each(raw, write)) is not None:
                message[name], changed = msgspec.Raw(written), True
        if "messages.developer" in self._manner.refuses and bytes(message.get("role", b"")) == b'"developer"':
            message["role"], changed = msgspec.Raw(b'"system"'), True
        changed |= self._name("tool_call_id", message)
        return self._think(message) | self._leave_out(message) | changed

    def _name(self, member: str, members: Members) -> bool:
        """An id of a call, as the provider wants them."""
        if not self._manner.nine_character_ids or member not in members:
            return False
        old = bytes(members[member])
        members[member] = msgspec.Raw(_encode(self._turns.name_call(_id.decode(old))))
        return bytes(members[member]) != old

    def _leave_out(self, message: Members) -> bool:
        """Sources, and the words of a refusal, which become words like any others."""
        found = [name for name in ("annotations", "refusal") if name in message and f"messages.{name}" in self._manner.refuses]
        for name in found:
            said = message.pop(name)
            content = bytes(message.get("content", b"null"))
            if name == "refusal" and bytes(said) != b"null" and content[:1] != b"[":
                message["content"] = msgspec.Raw(_encode((_text.decode(content) or "") + (_text.decode(said) or "")))
        return bool(found)

    def _part(self, part: Members) -> bool:
        return self._drop("cache_control", part)

    def _call(self, call: Members) -> bool:
        return self._drop("extra_content", call) | self._name("id", call)

    def _think(self, message: Members) -> bool:
        """Earlier thought, in the provider's own member for it, or not at all."""
        refused = [name for name in _THOUGHTS if f"messages.{name}" in self._manner.refuses and name in message]
        if not refused:
            return False
        said = _thought.decode(_encode({name: message[name] for name in _THOUGHTS if name in message}))
        for name in refused:
            del message[name]
        if any(name in message for name in _THOUGHTS):
            return True  # it is said in a way that the provider takes, too
        plain = said.reasoning_content or said.reasoning
        thought = thoughts.read(said.reasoning_details or ()) or ([Reasoning(plain)] if plain else [])
        content = message.get("content", msgspec.Raw(b"null"))
        listed = bytes(content)[:1] == b"["
        words = "" if listed else _text.decode(content) or ""
        told: dict[str, Any] = self._turns.think(thought, words)
        if listed and "content" in told:
            told["content"] = [told["content"][0], *_list.decode(content)]
        message.update({name: msgspec.Raw(_encode(value)) for name, value in told.items()})
        return True
