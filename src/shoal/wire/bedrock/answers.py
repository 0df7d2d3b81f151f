"""Answers of Converse: what was said, why it ended, what it used.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Citation, Conversation, Finish, Image, Part, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage, service_tier
from shoal.wire.bedrock.names import renamed

FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
# the model wrote what Bedrock could not read: there is no answer to pass on
_BROKEN = ("malformed_model_output", "malformed_tool_use")
# what has no noun of ours, and is the caller's to read
_EXTRA = ("additionalModelResponseFields", "metrics", "performanceConfig", "serviceTier", "trace")
# msgspec takes no Raw in a union: what is absent reads as null
ABSENT = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"{}")


class _Written(msgspec.Struct):
    ttl: str = ""
    inputTokens: int = 0


class TokenUsage(msgspec.Struct):
    """Bedrock's token counts. `inputTokens` has none of the cache's in it."""

    inputTokens: int | None = None
    outputTokens: int | None = None
    cacheReadInputTokens: int | None = None
    cacheWriteInputTokens: int | None = None
    cacheDetails: list[_Written] | None = None


class ReasoningText(msgspec.Struct):
    """Thought, and what proves it."""

    text: str = ""
    signature: str | None = None


class ReasoningContent(msgspec.Struct):
    """Thought that may be read, or bytes (in base64) that only its maker can read."""

    reasoningText: ReasoningText | None = None
    redactedContent: str | None = None


class ToolUse(msgspec.Struct):
    """A call. Of `type` server_tool_use it is Bedrock's own, run there already; Claude's ordinary ones are of `type` tool_use."""

    toolUseId: str
    name: str
    input: msgspec.Raw = _EMPTY
    type: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is the caller who must make the call."""
        return self.type != "server_tool_use"


class _Texts(msgspec.Struct):
    text: str = ""


class _Web(msgspec.Struct):
    url: str | None = None


class _Location(msgspec.Struct):
    web: _Web | None = None


class Source(msgspec.Struct):
    """A citation: of a text, at a place of a document or of the web."""

    title: str | None = None
    source: str | None = None
    sourceContent: list[_Texts] = []
    location: _Location | None = None


class _Cited(msgspec.Struct):
    content: list[_Texts] = []
    citations: list[msgspec.Raw] = []


class Bytes(msgspec.Struct):
    """Bytes, in base64."""

    bytes: str | None = None


class Picture(msgspec.Struct):
    """An image that the model made."""

    format: str = "png"
    source: Bytes = msgspec.field(default_factory=Bytes)


class _Block(msgspec.Struct):
    text: str | None = None
    toolUse: ToolUse | None = None
    reasoningContent: ReasoningContent | None = None
    citationsContent: _Cited | None = None
    image: Picture | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []


class _Output(msgspec.Struct):
    message: _Message | None = None


class ServiceTier(msgspec.Struct):
    """How the answer was made: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ServiceTier.html"""

    type: str | None = None


class _Body(msgspec.Struct):
    output: _Output
    stopReason: str | None = None
    usage: TokenUsage | None = None
    serviceTier: ServiceTier | None = None
    additionalModelResponseFields: msgspec.Raw = ABSENT


_body = msgspec.json.Decoder(_Body)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_source = msgspec.json.Decoder(Source)


def read(body: bytes, conversation: Conversation) -> Answer:
    """The whole answer. Errors: Fault upstream_garbled."""
    try:
        seen = _body.decode(body)
        members = _members.decode(body)
        names = renamed(conversation)
        message = seen.output.message or _Message()
        parts: list[Part] = []
        for block in message.content:
            length = sum(len(part.text) for part in parts if isinstance(part, Text))
            parts += _parts(block, conversation, names, length)
        finish = read_finish(seen.stopReason, any(isinstance(part, ToolCall) for part in parts))
        stopped_by = stop_sequence_of(seen.additionalModelResponseFields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not an answer of Converse.") from None
    return Answer(
        model=conversation.model,
        choices=(Choice(tuple(parts), finish, stop_sequence=stopped_by),),
        usage=read_usage(seen.usage, seen.serviceTier),
        extra={name: members[name] for name in _EXTRA if name in members},
    )


def _parts(block: _Block, conversation: Conversation, names: dict[str, str], length: int) -> Iterator[Part]:
    if block.text:  # some models open with an empty one
        yield Text(block.text)
    elif block.toolUse is not None and block.toolUse.is_ours:
        call = block.toolUse
        yield ToolCall(call.toolUseId, names.get(call.name, call.name), bytes(call.input).decode())
    elif block.reasoningContent is not None:
        yield read_reasoning(block.reasoningContent, conversation)
    elif block.citationsContent is not None:
        cited = block.citationsContent
        text = "".join(one.text for one in cited.content)
        yield Text(text, citations=tuple(read_citation(raw, length, length + len(text)) for raw in cited.citations))
    elif block.image is not None:
        yield read_image(block.image)


def read_reasoning(content: ReasoningContent, conversation: Conversation) -> Reasoning:
    """Thought with its origin: Claude's may go back to Claude wherever it runs."""
    origin = origin_of(conversation)
    if content.redactedContent is not None:
        return read_redacted(content.redactedContent, origin)
    said = content.reasoningText or ReasoningText()
    return Reasoning(said.text, said.signature, origin=origin)


def read_redacted(blob: str, origin: str) -> Reasoning:
    """Thought that only its maker reads. Claude's is a text, put in base64 here as bytes; that text is what its own API knows."""
    text = _text_in(blob) if origin == "anthropic" else None
    return Reasoning(redacted=blob, origin="bedrock") if text is None else Reasoning(redacted=text, origin=origin)


def _text_in(blob: str) -> str | None:
    try:
        return b64decode(blob, validate=True).decode("ascii")
    except ValueError:
        return None


def origin_of(conversation: Conversation) -> str:
    """Who signs, as far as the model's name tells: Claude's signatures are Anthropic's, and hold on every platform.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking
    """
    return "anthropic" if "claude" in conversation.model else "bedrock"


def read_citation(raw: msgspec.Raw, start: int, end: int) -> Citation:
    """A citation of the text from `start` to `end`, as we know it and in its own words."""
    seen = _source.decode(raw)
    web = seen.location.web if seen.location else None
    url = web.url if web else None
    if url is None and (seen.source or "").startswith(("http://", "https://")):
        url = seen.source
    return Citation(url, seen.title, "".join(one.text for one in seen.sourceContent) or None, start, end, raw)


def read_image(picture: Picture) -> Image:
    """A picture in the answer."""
    return Image(data=picture.source.bytes, media_type=f"image/{picture.format}")


def read_finish(reason: str | None, has_calls: bool) -> Finish | None:
    """Why it ended. Errors: Fault upstream_error where the model wrote what Bedrock could not read."""
    if reason in _BROKEN:
        raise Fault("upstream_error", f"The upstream's model wrote an answer that could not be read ({reason}).")
    if reason is None:
        return None
    finish = FINISHES.get(reason, "stop")
    if finish in ("stop", "tool_calls"):  # the use of Bedrock's own tools is nothing that the caller could do
        return "tool_calls" if has_calls else "stop"
    return finish


def stop_sequence_of(fields: msgspec.Raw) -> str | None:
    """Which stop sequence it was, where Claude was asked to tell."""
    seen: Any = msgspec.json.decode(fields)
    if isinstance(seen, dict) and isinstance(seen.get("delta"), dict):
        seen = seen["delta"]
    found = seen.get("stop_sequence") if isinstance(seen, dict) else None
    return found if isinstance(found, str) else None


def read_usage(seen: TokenUsage | None, tier: ServiceTier | None = None) -> Usage:
    """Counts as ours: Bedrock's input excludes what came from and went to the cache."""
    if seen is None:
        return Usage()
    read, write = seen.cacheReadInputTokens, seen.cacheWriteInputTokens
    total = None if seen.inputTokens is None else seen.inputTokens + (read or 0) + (write or 0)
    longer = None if seen.cacheDetails is None else sum(one.inputTokens for one in seen.cacheDetails if one.ttl == "1h")
    used = Usage(input=total, output=seen.outputTokens, cache_read=read, cache_write=write, cache_write_1h=longer)
    named = None if tier is None else service_tier(tier.type)
    return used if named is None else msgspec.structs.replace(used, service_tier=named)
