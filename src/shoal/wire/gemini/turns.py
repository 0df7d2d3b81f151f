"""A caller's `systemInstruction` and `contents` as messages.

Google's calls and results may lack ids; they get some here, and a result belongs to the earliest open call of its function.
"""

from typing import Any

import msgspec

from shoal.core.conversation import File, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.gemini.members import Members
from shoal.wire.gemini.parts import medium
from shoal.wire.gemini.signatures import unseal

_RESULT_WORDS = ("output", "result", "error")


def read(request: Members) -> tuple[Message, ...]:
    """Messages in order, the system's first. Errors: Fault naming the place of what is not a part of a conversation."""
    calls = _Calls()
    system = request.get("systemInstruction")
    out: list[Message] = []
    if isinstance(system, str):
        out.append(Message("system", (Text(system),)))
    elif system is not None:
        told = (one for instruction in request.objects("systemInstruction") for one in instruction.objects("parts"))
        out.append(Message("system", tuple(part for one in told for part in _read(one, calls))))
    turns = list(request.objects("contents"))
    if not turns:
        raise Fault("missing_parameter", "Missing required parameter: 'contents'.", param="contents")
    for turn in turns:
        out.extend(_turn(turn, calls))
    return tuple(out)


class _Calls:
    """Function calls that no result has answered yet."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def add(self, identity: str | None, name: str) -> str:
        """A call's id, its own or a new one."""
        if not identity:
            identity = f"call_{self._made}_{name}"
            self._made += 1
        self._open.append((identity, name))
        return identity

    def settle(self, identity: str | None, name: str) -> str:
        """The id of the call that a result answers."""
        for one in self._open:
            if (identity and one[0] == identity) or (not identity and one[1] == name):
                self._open.remove(one)
                return one[0]
        return identity or f"call_{name}"


def _turn(turn: Members, calls: _Calls) -> list[Message]:
    """One turn; results of functions stand in messages of their own."""
    role = turn.text("role") or "user"
    if role not in ("user", "model", "function"):
        raise Fault("invalid_value", f"Invalid value for '{turn.where('role')}': it must be user or model.", param=turn.where("role"))
    parts = [part for one in turn.objects("parts") for part in _read(one, calls)]
    if role == "model":
        return [Message("assistant", tuple(parts))]
    out: list[Message] = []
    for part in parts:
        kind = "tool" if isinstance(part, ToolResult) else "user"
        if out and out[-1].role == kind:
            out[-1] = Message(out[-1].role, (*out[-1].parts, part))
        else:
            out.append(Message("tool" if kind == "tool" else "user", (part,)))
    return out


def _read(one: Members, calls: _Calls) -> list[Part]:
    text, signature = one.text("text"), one.text("thoughtSignature")
    called, result = one.object("functionCall"), one.object("functionResponse")
    if called is not None:
        return [_call(called, signature, calls)]
    if result is not None:
        return [_result(result, calls)]
    if text is not None and one.flag("thought"):
        return [unseal(signature, text)]
    found: list[Part] = [Text(text)] if text or (text is not None and signature is None) else []
    found.extend(_media(one))
    proof = unseal(signature)
    if proof.signature or proof.redacted:
        found.append(proof)
    if not found and text is None:
        text = f"'{one.path}' is a part that only Google's models understand, or none."
        raise Fault("unsupported_parameter", text, param=one.path)
    return found


def _media(one: Members) -> list[Image | File]:
    out: list[Image | File] = []
    inline, stored = one.object("inlineData"), one.object("fileData")
    if inline is not None:
        data = (inline.text("data") or "").replace("-", "+").replace("_", "/")  # both alphabets of base64 are Google's, one everybody's
        out.append(medium(inline.text("mimeType"), data, None, inline.text("displayName")))
    if stored is not None:
        out.append(medium(stored.text("mimeType"), None, stored.text("fileUri"), stored.text("displayName")))
    return out


def _call(called: Members, signature: str | None, calls: _Calls) -> ToolCall:
    name = called.text("name") or ""
    proof = unseal(signature)
    args = called.raw("args")
    return ToolCall(
        id=calls.add(called.text("id"), name),
        name=name,
        arguments=bytes(args).decode() if args is not None else "{}",
        signature=proof.signature if isinstance(proof, Reasoning) and proof.origin == "gemini" else None,
    )


def _result(result: Members, calls: _Calls) -> ToolResult:
    name = result.text("name") or ""
    response = result.get("response")
    held = [medium_part for one in result.objects("parts") for medium_part in _media(one)]
    sole = next(iter(response)) if isinstance(response, dict) and len(response) == 1 else None
    value: Any = response[sole] if sole in _RESULT_WORDS else response
    words = value if isinstance(value, str) else msgspec.json.encode(value).decode() if value is not None else ""
    parts = (Text(words), *held) if words or not held else tuple(held)
    return ToolResult(calls.settle(result.text("id"), name), parts, is_error=sole == "error", name=name or None)
