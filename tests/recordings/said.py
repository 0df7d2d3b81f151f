"""What an answer says, whatever its dialect: read plainly from the bytes, with none of the code that is tested."""

import json
from typing import Any, NamedTuple

from cassette import frames


class Said(NamedTuple):
    """Words, thought, calls (names with the arguments' values), why it ended, and the tokens of input and output where told."""

    text: str
    thought: str
    calls: list[tuple[str, Any]]
    used: tuple[int, int] | None


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


def _chat(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: dict[Any, list[str]] = {}
    used = None
    for piece in pieces:
        for choice in piece.get("choices") or ():
            said = choice.get("delta") or choice.get("message") or {}
            content = said.get("content") or ""
            for part in content if isinstance(content, list) else [{"text": content}]:
                text += part.get("text") or ""
                thought += "".join(one["text"] for one in part.get("thinking", ()))
            thought += said.get("reasoning_content") or said.get("reasoning") or ""
            for place, call in enumerate(said.get("tool_calls") or ()):
                name, function = call.get("index", place), call["function"]
                so_far = calls.setdefault(name, ["", ""])
                so_far[0] += function.get("name") or ""
                so_far[1] += function.get("arguments") or ""
        usage = piece.get("usage") or (piece.get("x_groq") or {}).get("usage")
        used = (usage["prompt_tokens"], usage["completion_tokens"]) if usage else used
    return Said(text, thought, [(name, _value(arguments)) for name, arguments in calls.values()], used)


def _responses(pieces: list[Any]) -> Said:
    last = next((piece["response"] for piece in reversed(pieces) if "response" in piece), pieces[-1])
    items = [piece["item"] for piece in pieces if piece.get("type") == "response.output_item.done"] or last.get("output", [])
    text = "".join(part.get("text", "") for item in items if item["type"] == "message" for part in item["content"])
    thought = "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item.get("summary") or ())
    calls = [(item["name"], _value(item["arguments"])) for item in items if item["type"] == "function_call"]
    usage = last.get("usage")
    return Said(text, thought, calls, (usage["input_tokens"], usage["output_tokens"]) if usage else None)


def _anthropic(pieces: list[Any]) -> Said:
    blocks: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    for piece in pieces:
        usage |= {name: count for name, count in ((piece.get("message") or piece).get("usage") or {}).items() if count is not None}
        blocks += piece.get("content", ())
        if piece["type"] == "content_block_start":
            blocks.append(dict(piece["content_block"]))
        delta = piece.get("delta", {})
        for name, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
            if piece["type"] == "content_block_delta" and name in delta:
                blocks[-1][into] = blocks[-1].get(into, "") + delta[name]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    thought = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    uses = [block for block in blocks if block["type"] == "tool_use"]
    calls = [(use["name"], _value(use["json"]) if "json" in use else use["input"]) for use in uses]
    read = sum(usage.get(name, 0) for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    return Said(text, thought, calls, (read, usage["output_tokens"]) if usage else None)


def _gemini(pieces: list[Any]) -> Said:
    parts = [
        part
        for piece in pieces
        for candidate in piece.get("candidates") or ()
        for part in (candidate.get("content") or {}).get("parts") or ()
    ]
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    thought = "".join(part.get("text", "") for part in parts if part.get("thought"))
    calls = [(part["functionCall"]["name"], part["functionCall"].get("args") or {}) for part in parts if "functionCall" in part]
    usage = next((piece["usageMetadata"] for piece in reversed(pieces) if piece.get("usageMetadata")), None)
    if usage is None:
        return Said(text, thought, calls, None)
    made = (usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0)
    return Said(text, thought, calls, (usage.get("promptTokenCount") or 0, made))


def _bedrock(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: list[list[Any]] = []
    usage: dict[str, int] = {}
    for piece in pieces:
        told = (piece.get("metadata") or piece).get("usage")
        usage = told or usage
        for block in piece.get("output", {}).get("message", {}).get("content", ()):
            text += block.get("text", "")
            thought += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
            if "toolUse" in block:
                calls.append([block["toolUse"]["name"], json.dumps(block["toolUse"]["input"])])
        if use := piece.get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            calls.append([use["name"], ""])
        delta = piece.get("contentBlockDelta", {}).get("delta", {})
        text += delta.get("text", "")
        thought += delta.get("reasoningContent", {}).get("text", "")
        if "toolUse" in delta:
            calls[-1][1] += delta["toolUse"]["input"]
    read = sum(usage.get(name, 0) for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"))
    return Said(text, thought, [(name, _value(arguments)) for name, arguments in calls], (read, usage["outputTokens"]) if usage else None)


def _cohere(pieces: list[Any]) -> Said:
    text = thought = ""
    calls: list[list[str]] = []
    used = None
    for piece in pieces:
        message = piece.get("message") or piece.get("delta", {}).get("message") or {}
        content = message.get("content") or ()
        for part in content if isinstance(content, list | tuple) else (content,):
            text += part.get("text", "")
            thought += part.get("thinking", "")
        made = message.get("tool_calls") or ()
        for call in made if isinstance(made, list | tuple) else (made,):
            if "name" in call["function"]:
                calls.append([call["function"]["name"], ""])
            calls[-1][1] += call["function"].get("arguments", "")
        usage = piece.get("usage") or piece.get("delta", {}).get("usage")
        tokens = (usage or {}).get("tokens")
        used = (int(tokens["input_tokens"]), int(tokens["output_tokens"])) if tokens else used
    return Said(text, thought, [(name, _value(arguments)) for name, arguments in calls], used)
