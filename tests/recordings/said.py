"""What an answer says, whatever its dialect: read plainly from the bytes, with none of the code that is tested."""

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from cassette import frames

Used = dict[str, int]
"""Tokens as far as they are told: input and output whole, of them cache_read, cache_write and reasoning."""


class Said(NamedTuple):
    """Words (those of a refusal, too), thought, calls (names with the arguments' values), why it ended in OpenAI's words, the tokens.

    `used` is None where they are not told. `proofs` are signatures and thoughts that only their maker reads, `sources` cited addresses.
    """

    text: str
    thought: str
    calls: list[tuple[str, Any]]
    finish: str | None
    used: Used | None
    proofs: list[str]
    sources: list[str]


def events(body: bytes) -> list[Any]:
    """The values of a stream's events."""
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n")
    data = ["\n".join(line[5:].strip() for line in event.split("\n") if line.startswith("data:")) for event in text.split("\n\n")]
    return [json.loads(one) for one in data if one and one != "[DONE]"]


def read(dialect: str, streamed: bool, body: bytes) -> Said:
    """What is said by an answer in a dialect."""
    if dialect == "bedrock":
        return _bedrock([{name: value} for name, value in frames(body)] if streamed else [json.loads(body)])
    pieces = events(body) if streamed else [json.loads(body)]
    return {"openai_chat": _chat, "openai_responses": _responses, "anthropic": _anthropic, "gemini": _gemini, "cohere": _cohere}[dialect](
        pieces
    )


def _value(arguments: str) -> Any:
    return json.loads(arguments or "{}")


def _told(**counts: int | None) -> Used:
    return {name: int(count) for name, count in counts.items() if count is not None}


def _finish(said: str | None, words: Mapping[str, str], calls: bool) -> str | None:
    """In OpenAI's words; a normal end is for the calls where there are some."""
    found = None if said is None else words.get(said, said)
    return "tool_calls" if calls and found == "stop" else found


def _chat(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: dict[Any, list[str]] = {}
    finish, used = None, None
    proofs: list[str] = []
    sources: list[str] = []
    whole: list[str] = []
    for piece in pieces:
        whole = [one if isinstance(one, str) else one["url"] for one in piece.get("citations") or ()] or whole
        usage = piece.get("usage") or (piece.get("x_groq") or {}).get("usage") or used
        for choice in piece.get("choices") or ():
            said = choice.get("delta") or choice.get("message") or {}
            content = said.get("content") or ""
            for part in content if isinstance(content, list) else [{"text": content}]:
                text += part.get("text") or ""
                thought += "".join(one["text"] for one in part.get("thinking", ()))
            text += said.get("refusal") or ""
            thought += said.get("reasoning_content") or said.get("reasoning") or ""
            for detail in said.get("reasoning_details") or ():
                proofs += [detail[name] for name in ("signature", "data") if detail.get(name)]
            sources += [one["url_citation"]["url"] for one in said.get("annotations") or () if one.get("url_citation", {}).get("url")]
            for place, call in enumerate(said.get("tool_calls") or ()):
                name, function = call.get("index", place), call.get("function") or call["custom"]
                proof = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
                proofs += [proof] if proof else []
                so_far = calls.setdefault(name, ["", ""])
                so_far[0] += function.get("name") or ""
                so_far[1] += json.dumps(function["input"]) if "input" in function else function.get("arguments") or ""
            finish = choice.get("finish_reason") or finish
            usage = usage or choice.get("usage")
        used = usage
    return Said(
        text,
        thought,
        [(name, _value(arguments)) for name, arguments in calls.values()],
        _finish(finish, {}, bool(calls)),
        _of_openai(used, "prompt", "completion"),
        proofs,
        sources or whole,
    )


def _of_openai(usage: Any, into: str, out: str) -> Used | None:
    if not usage:
        return None
    read, made = usage.get(f"{into}_tokens_details") or {}, usage.get(f"{out}_tokens_details") or {}
    cached = read.get("cached_tokens", usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens")))
    put, output, reasoning = usage.get(f"{into}_tokens"), usage.get(f"{out}_tokens"), made.get("reasoning_tokens")
    if reasoning and usage.get("total_tokens") == put + output + reasoning:  # xAI counts thought beside the rest
        output += reasoning
    return _told(
        input=put,
        output=output,
        cache_read=cached,
        cache_write=read.get("cache_write_tokens"),
        reasoning=reasoning,
    )


def _responses(pieces: list[Any]) -> Said:
    last = next((piece["response"] for piece in reversed(pieces) if "response" in piece), pieces[-1])
    items = [piece["item"] for piece in pieces if piece.get("type") == "response.output_item.done"] or last.get("output", [])
    words = [part for item in items if item["type"] == "message" for part in item["content"]]
    thoughts = [item for item in items if item["type"] == "reasoning"]
    calls = [(item["name"], _value(item["arguments"])) for item in items if item["type"] == "function_call"]
    reason = (last.get("incomplete_details") or {}).get("reason")
    return Said(
        "".join(part.get("text") or part.get("refusal", "") for part in words),
        "".join("\n\n".join(part["text"] for part in item.get("summary") or item.get("content") or ()) for item in thoughts),
        calls,
        _finish(reason or last.get("status"), {"completed": "stop", "max_output_tokens": "length"}, bool(calls)),
        _of_openai(last.get("usage"), "input", "output"),
        [item["encrypted_content"] for item in thoughts if item.get("encrypted_content")],
        [one["url"] for part in words for one in part.get("annotations") or () if "url" in one],
    )


_STOPS_OF_CLAUDE = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def _anthropic(pieces: list[Any]) -> Said:
    blocks: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    finish, refusal = None, ""
    for piece in pieces:
        refusal = ((piece.get("delta") or piece).get("stop_details") or {}).get("explanation") or refusal
        usage |= {name: count for name, count in ((piece.get("message") or piece).get("usage") or {}).items() if count is not None}
        finish = piece.get("stop_reason") or (piece.get("delta") or {}).get("stop_reason") or finish
        blocks += piece.get("content", ())
        if piece["type"] == "content_block_start":
            blocks.append(dict(piece["content_block"]))
        delta = piece.get("delta", {})
        for name, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json"), ("signature", "signature")):
            if piece["type"] == "content_block_delta" and name in delta:
                blocks[-1][into] = blocks[-1].get(into, "") + delta[name]
        if "citation" in delta:
            blocks[-1]["citations"] = [*(blocks[-1].get("citations") or ()), delta["citation"]]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    fresh = usage.get("input_tokens")
    return Said(
        "".join(block["text"] for block in blocks if block["type"] == "text") or refusal,
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        [(use["name"], _value(use["json"]) if "json" in use else use["input"]) for use in uses],
        _finish(finish, _STOPS_OF_CLAUDE, bool(uses)),
        _told(
            input=None if fresh is None else fresh + (read or 0) + (written or 0),
            output=usage.get("output_tokens"),
            cache_read=read,
            cache_write=written,
            reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens"),
        )
        or None,
        [block.get("signature") or block["data"] for block in blocks if block.get("signature") or block["type"] == "redacted_thinking"],
        [one["url"] for block in blocks for one in block.get("citations") or () if one.get("url")],
    )


_STOPS_OF_GEMINI = {"STOP": "stop", "MAX_TOKENS": "length"} | dict.fromkeys(
    ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"), "content_filter"
)


def _gemini(pieces: list[Any]) -> Said:
    candidates = [candidate for piece in pieces for candidate in piece.get("candidates") or ()]
    parts = [part for candidate in candidates for part in (candidate.get("content") or {}).get("parts") or ()]
    calls = [(part["functionCall"]["name"], part["functionCall"].get("args") or {}) for part in parts if "functionCall" in part]
    finish = next((one["finishReason"] for one in reversed(candidates) if one.get("finishReason")), None)
    blocked = any((piece.get("promptFeedback") or {}).get("blockReason") for piece in pieces)
    usage = next((piece["usageMetadata"] for piece in reversed(pieces) if piece.get("usageMetadata")), None)
    grounds = [ground for one in candidates for ground in (one.get("groundingMetadata") or {}).get("groundingChunks") or ()]
    return Said(
        "".join(part.get("text", "") for part in parts if not part.get("thought")),
        "".join(part.get("text", "") for part in parts if part.get("thought")),
        calls,
        "content_filter" if blocked else _finish(finish, _STOPS_OF_GEMINI, bool(calls)),
        usage
        and _told(
            input=(usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
            output=(usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0),
            cache_read=usage.get("cachedContentTokenCount"),
            reasoning=usage.get("thoughtsTokenCount"),
        ),
        [part["thoughtSignature"] for part in parts if part.get("thoughtSignature")],
        [ground["web"]["uri"] for ground in grounds if "web" in ground],
    )


_STOPS_OF_BEDROCK = _STOPS_OF_CLAUDE | {"guardrail_intervened": "content_filter", "content_filtered": "content_filter"}


def _unsealed(thought: dict[str, Any]) -> str:
    """Claude's redacted thought is a text, which Bedrock puts in base64 as it does all bytes."""
    return base64.b64decode(thought.get("redactedContent", "")).decode()


def _bedrock(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: list[list[Any]] = []
    usage: dict[str, int] = {}
    proofs: list[str] = []
    finish = None
    for piece in pieces:
        told = (piece.get("metadata") or piece).get("usage")
        usage = told or usage
        finish = piece.get("stopReason") or piece.get("messageStop", {}).get("stopReason") or finish
        for block in piece.get("output", {}).get("message", {}).get("content", ()):
            text += block.get("text", "")
            said = block.get("reasoningContent", {})
            thought += said.get("reasoningText", {}).get("text", "")
            proofs += [one for one in (said.get("reasoningText", {}).get("signature"), _unsealed(said)) if one]
            if "toolUse" in block:
                calls.append([block["toolUse"]["name"], json.dumps(block["toolUse"]["input"])])
        if use := piece.get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            calls.append([use["name"], ""])
        delta = piece.get("contentBlockDelta", {}).get("delta", {})
        text += delta.get("text", "")
        thought += delta.get("reasoningContent", {}).get("text", "")
        proofs += [one for one in (delta.get("reasoningContent", {}).get("signature"), _unsealed(delta.get("reasoningContent", {}))) if one]
        if "toolUse" in delta:
            calls[-1][1] += delta["toolUse"]["input"]
    read, written = usage.get("cacheReadInputTokens"), usage.get("cacheWriteInputTokens")
    used = _told(
        input=usage["inputTokens"] + (read or 0) + (written or 0), output=usage["outputTokens"], cache_read=read, cache_write=written
    ) if usage else None  # fmt: skip
    made = [(name, _value(arguments)) for name, arguments in calls]
    return Said(text, thought, made, _finish(finish, _STOPS_OF_BEDROCK, bool(made)), used, proofs, [])


_STOPS_OF_COHERE = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "TOXIC": "content_filter",
}


def _cohere(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: list[list[str]] = []
    finish, used = None, None
    for piece in pieces:
        delta = piece.get("delta", {})
        message = piece.get("message") or delta.get("message") or {}
        content = message.get("content") or ()
        thought += message.get("tool_plan") or ""
        for part in content if isinstance(content, list | tuple) else (content,):
            text += part.get("text", "")
            thought += part.get("thinking", "")
        made = message.get("tool_calls") or ()
        for call in made if isinstance(made, list | tuple) else (made,):
            if "name" in call["function"]:
                calls.append([call["function"]["name"], ""])
            calls[-1][1] += call["function"].get("arguments", "")
        finish = piece.get("finish_reason") or delta.get("finish_reason") or finish
        usage = piece.get("usage") or delta.get("usage") or {}
        tokens = usage.get("tokens")
        if tokens:
            used = _told(input=tokens.get("input_tokens"), output=tokens.get("output_tokens"), cache_read=usage.get("cached_tokens"))
    named = [(name, _value(arguments)) for name, arguments in calls]
    return Said(text, thought, named, _finish(finish, _STOPS_OF_COHERE, bool(named)), used, [], [])
