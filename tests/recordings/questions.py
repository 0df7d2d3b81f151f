"""The OpenAI-shaped question that a recorded request answers: read by the dialect itself where callers speak it, written as a chat body.

Bedrock's and Cohere's requests, which no caller speaks, are read here, as far as recordings use them.
"""

import base64
import json
from typing import Any

import msgspec
from cassette import Recorded

from shoal.core.conversation import Conversation, File, Image, Message, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.wire.anthropic import dialect as anthropic
from shoal.wire.gemini import dialect as gemini
from shoal.wire.openai_chat import parts, thoughts, tools
from shoal.wire.openai_responses import dialect as openai_responses

_SAMPLED = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "n", "logprobs", "top_logprobs", "logit_bias")


def chat_of(recorded: Recorded) -> dict[str, Any]:
    """The body for POST /v1/chat/completions; its `model` is the upstream's. Errors: Fault, for what no caller may say."""
    asked, body = recorded.question, json.dumps(recorded.question).encode()
    if asked is None:
        return {"model": recorded.model, "messages": [{"role": "user", "content": "hello"}]} | (
            {"stream": True} if recorded.streamed else {}
        )
    match recorded.dialect:
        case "anthropic":
            return _write(anthropic.CALLER.read(body))
        case "gemini":
            return _write(gemini.CALLER.read_at(body, recorded.model, "streamGenerate" in recorded.path))
        case "openai_responses":
            return _write(openai_responses.CALLER.read(body))
        case "bedrock":
            return _bedrock(asked) | {"model": recorded.model} | ({"stream": True} if recorded.path.endswith("-stream") else {})
        case "cohere":
            return _cohere(asked)
    return dict(asked)


def _write(said: Conversation) -> dict[str, Any]:
    out: dict[str, Any] = {"model": said.model, "messages": [one for message in said.messages for one in _message(message)]}
    if said.tools or said.hosted:
        out["tools"] = [*(tools.write_tool(tool, True) for tool in said.tools), *(tool.raw for tool in said.hosted)]
    if said.tool_choice is not None:
        out["tool_choice"] = tools.write_choice(said.tool_choice)
    if said.parallel_tools is not None:
        out["parallel_tool_calls"] = said.parallel_tools
    if said.format is not None:
        schema = {"name": said.format.name, "schema": said.format.schema, "strict": said.format.strict}
        out["response_format"] = {"type": "json_schema", "json_schema": schema} if said.format.schema else {"type": "json_object"}
    out |= {name: value for name in _SAMPLED if (value := getattr(said.sampling, name)) is not None}
    if said.sampling.stop:
        out["stop"] = said.sampling.stop
    if said.max_tokens is not None:
        out["max_completion_tokens"] = said.max_tokens
    if said.thinking is not None:
        thinking = said.thinking
        if thinking.effort == "auto":
            out["thinking"] = {"type": "adaptive"}
        told = {"effort": None if thinking.effort == "auto" else thinking.effort, "max_tokens": thinking.budget}
        out["reasoning"] = {name: value for name, value in told.items() if value is not None}
        if thinking.shown is not None:
            out["reasoning"]["exclude"] = not thinking.shown
    out |= {name: value for name in ("user", "service_tier") if (value := getattr(said, name)) is not None}
    out |= {"stream": True} if said.stream else {}
    return msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(out | dict(said.extra))))  # type: ignore[no-any-return]


def _message(said: Message) -> list[dict[str, Any]]:
    results = [_result(part) for part in said.parts if isinstance(part, ToolResult)]
    rest = [part for part in said.parts if not isinstance(part, ToolResult)]
    if not rest:
        return results
    out: dict[str, Any] = {"role": said.role}
    if said.role == "assistant":
        thought = [part for part in rest if isinstance(part, Reasoning)]
        details = [one for at, part in enumerate(thought) for one in thoughts.write(*_of(part), at)]
        calls = [tools.write_call(part.id, part.name, part.arguments, part.signature) for part in rest if isinstance(part, ToolCall)]
        refusal = "".join(part.text for part in rest if isinstance(part, Refusal))
        out |= {"reasoning_details": details} if details else {}
        out |= {"tool_calls": calls} if calls else {}
        out |= {"refusal": refusal} if refusal else {}
    content = [parts.write(_as_file(part), True) for part in rest if isinstance(part, Text | Image | File)]
    out |= {"content": content} if content else {}
    return [*results, out]


def _as_file(part: Text | Image | File) -> Text | Image | File:
    """OpenAI's callers have no documents of text, but files of it."""
    if not isinstance(part, File) or part.text is None:
        return part
    data = base64.b64encode(part.text.encode()).decode()
    return msgspec.structs.replace(part, text=None, data=data, media_type="text/plain", name=part.name or "document.txt")


def _of(thought: Reasoning) -> tuple[str, str | None, str | None, str | None, str | None]:
    return thought.text, thought.signature, thought.redacted, thought.origin, thought.id


def _result(result: ToolResult) -> dict[str, Any]:
    content: Any = [parts.write(part, True) for part in result.parts]
    if all(isinstance(part, Text) and part.cache is None for part in result.parts):
        content = "".join(part.text for part in result.parts if isinstance(part, Text))
    return {"role": "tool", "tool_call_id": result.id, "content": content}


_COHERES = {"p": "top_p", "k": "top_k", "stop_sequences": "stop", "max_tokens": "max_completion_tokens"}


def _cohere(asked: dict[str, Any]) -> dict[str, Any]:
    out = {_COHERES.get(name, name): value for name, value in asked.items() if name not in ("thinking", "strict_tools")}
    out["messages"] = [_cohere_turn(message) for message in asked["messages"]]
    if "tool_choice" in asked:
        out["tool_choice"] = asked["tool_choice"].lower()
    if asked.get("strict_tools"):
        out["tools"] = [tool | {"function": tool["function"] | {"strict": True}} for tool in asked["tools"]]
    if schema := asked.get("response_format", {}).get("json_schema"):
        out["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    if thinking := asked.get("thinking"):
        budget = thinking.get("token_budget")
        on = {"max_tokens": budget} if budget else {"enabled": True}
        out["reasoning"] = {"effort": "none"} if thinking["type"] == "disabled" else on
    return out


def _cohere_turn(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    said = [("", part["thinking"]) for part in parts if part["type"] == "thinking"]
    said += [("tool_plan", message["tool_plan"])] if message.get("tool_plan") else []
    details = [one for at, (id, text) in enumerate(said) for one in thoughts.write(text, None, None, "cohere", id or None, at)]
    out = {name: value for name, value in message.items() if name != "tool_plan"} | ({"reasoning_details": details} if details else {})
    return out | ({"content": [part for part in parts if part["type"] != "thinking"]} if parts else {})


def _bedrock(asked: dict[str, Any]) -> dict[str, Any]:
    system = _bedrock_parts(asked.get("system", []))
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in asked["messages"]:
        blocks = message["content"]
        for block in blocks:
            if result := block.get("toolResult"):
                texts = "".join(part["text"] if "text" in part else json.dumps(part.get("json")) for part in result["content"])
                messages.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": texts})
        told: dict[str, Any] = {"role": message["role"]}
        if content := _bedrock_parts(blocks):
            told["content"] = content
        uses = [block["toolUse"] for block in blocks if "toolUse" in block]
        if uses:
            told["tool_calls"] = [tools.write_call(use["toolUseId"], use["name"], json.dumps(use["input"]), None) for use in uses]
        thought = [block["reasoningContent"]["reasoningText"] for block in blocks if "reasoningText" in block.get("reasoningContent", {})]
        if thought:
            marks = [(one["text"], one.get("signature"), None, "anthropic", None) for one in thought]
            told["reasoning_details"] = [detail for at, mark in enumerate(marks) for detail in thoughts.write(*mark, at)]
        if len(told) > 1:
            messages.append(told)
    out: dict[str, Any] = {"messages": messages}
    limits = asked.get("inferenceConfig", {})
    names = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
    out |= {name: limits[theirs] for theirs, name in names.items() if theirs in limits}
    more = asked.get("additionalModelRequestFields", {})
    out |= {name: more[name] for name in ("thinking", "top_k") if name in more}
    if k := more.get("inferenceConfig", {}).get("topK"):
        out["top_k"] = k
    if effort := more.get("output_config", {}).get("effort") or more.get("reasoning_config") or more.get("reasoning_effort"):
        out["reasoning_effort"] = effort
    if wanted := asked.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema"):
        schema = {"name": wanted["name"], "schema": json.loads(wanted["schema"])}
        out["response_format"] = {"type": "json_schema", "json_schema": schema}
    out |= {name: asked[name] for name in ("guardrailConfig", "performanceConfig", "requestMetadata", "serviceTier") if name in asked}
    config = asked.get("toolConfig")
    if config:
        out["tools"] = []
        for tool in config["tools"]:
            if "toolSpec" in tool:
                out["tools"].append(_bedrock_tool(tool["toolSpec"]))
            else:
                out["tools"][-1]["cache_control"] = {"type": "ephemeral"}
        choice = config.get("toolChoice", {})
        named = choice.get("tool", {}).get("name")
        if choice:
            plain = "required" if "any" in choice else "auto"
            out["tool_choice"] = {"type": "function", "function": {"name": named}} if named else plain
    return out


def _bedrock_parts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for block in blocks:
        if "text" in block:
            out.append({"type": "text", "text": block["text"]})
        elif "cachePoint" in block:
            out[-1]["cache_control"] = {"type": "ephemeral"}
        elif "image" in block:
            image = block["image"]
            out.append({"type": "image_url", "image_url": {"url": f"data:image/{image['format']};base64,{image['source']['bytes']}"}})
        elif "video" in block:
            video = block["video"]
            source = video["source"].get("s3Location", {}).get("uri") or f"data:video/{video['format']};base64,{video['source']['bytes']}"
            out.append({"type": "video_url", "video_url": {"url": source}})
        elif "document" in block:
            document = block["document"]
            kind = {"txt": "text/plain", "pdf": "application/pdf", "md": "text/markdown"}.get(document["format"], "application/pdf")
            data = f"data:{kind};base64,{document['source']['bytes']}"
            out.append({"type": "file", "file": {"filename": f"{document['name']}.{document['format']}", "file_data": data}})
    return out


def _bedrock_tool(spec: dict[str, Any]) -> dict[str, Any]:
    function = {"name": spec["name"], "parameters": spec["inputSchema"]["json"]}
    return {"type": "function", "function": function | ({"description": spec["description"]} if "description" in spec else {})}


def embedding_of(recorded: Recorded) -> dict[str, Any]:
    """The body for POST /v1/embeddings."""
    asked = recorded.question
    if recorded.dialect == "openai_chat":
        return dict(asked)
    if recorded.dialect in ("cohere", "bedrock"):
        asked = asked.get("singleEmbeddingParams", asked)
        words = asked.get("text", {})
        told = {"input": asked.get("texts") or asked.get("inputText") or words.get("value"), "truncationMode": words.get("truncationMode")}
        told["dimensions"] = asked.get("output_dimension") or asked.get("dimensions") or asked.get("embeddingDimension")
        own = ("input_type", "truncate", "max_tokens", "normalize", "embeddingPurpose")
        told |= {name: asked[name] for name in own if name in asked}
        return {name: value for name, value in told.items() if value is not None}
    each = asked.get("requests") or asked.get("instances") or [asked]
    texts = [one["content"] if isinstance(one["content"], str) else one["content"]["parts"][0]["text"] for one in each]
    size = each[0].get("outputDimensionality") or asked.get("parameters", {}).get("outputDimensionality")
    task = {"task_type": each[0]["taskType"]} if "taskType" in each[0] else {}
    return {"input": texts} | ({"dimensions": size} if size else {}) | task
