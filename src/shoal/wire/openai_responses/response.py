"""The response object around its output: what it repeats of the request, how it ended. Ids are derived, since nothing here is random.

https://platform.openai.com/docs/api-reference/responses/object
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Conversation, Finish
from shoal.core.usage import Usage
from shoal.wire.openai_responses import usage

DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "auto",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where the request did not say it."""

_REASONS: Mapping[Finish, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer ended too early."""


def open_response(conversation: Conversation, response_id: str, created: int, model: str) -> dict[str, Any]:
    """A response that is in progress. `created` is seconds since 1970."""
    said = {name: raw for name, raw in conversation.echo.items() if name in DEFAULTS and bytes(raw) != b"null"}
    if "tools" in said:
        said["tools"] = _with_required(said["tools"])
    for name in ("text", "reasoning"):
        if name in said:
            said[name] = msgspec.Raw(msgspec.json.encode(DEFAULTS[name] | msgspec.json.decode(said[name])))
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        **DEFAULTS,
        **said,
        "usage": None,
    }


def _with_required(tools: msgspec.Raw) -> msgspec.Raw:
    """The tools, each function with the members that it need not have in a request."""
    filled = [
        {"type": "function", "parameters": None, "strict": None, **tool} if tool.get("type") == "function" else tool
        for tool in msgspec.json.decode(tools, type=list[dict[str, Any]])
    ]
    return msgspec.Raw(msgspec.json.encode(filled))


def close_response(response: dict[str, Any], output: list[dict[str, Any]], finish: Finish | None, used: Usage) -> None:
    """End it: its output, what was used, and whether something is missing."""
    reason = _REASONS.get(finish) if finish is not None else None
    response["status"] = "incomplete" if reason else "completed"
    response["incomplete_details"] = {"reason": reason} if reason else None
    response["output"] = output
    response["usage"] = usage.write(used)


def seal_response(response: dict[str, Any], cost: str | None, receipt: bytes) -> bytes:
    """The whole object as JSON, `cost` (a JSON number) at the end of its usage and the receipt `shoal` at its own."""
    counted = response["usage"]
    if counted is not None:
        counted["cost"] = msgspec.Raw((cost or "null").encode())
    return msgspec.json.encode(response | {"shoal": msgspec.Raw(receipt)})


def item_id(prefix: str, response_id: str, index: int) -> str:
    """An output item's id: the response's own, and its place."""
    return f"{prefix}_{response_id.removeprefix('resp_')}{index:02x}"
