"""POST /v1/chat/completions."""

from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.mini import dialect, tools, turns
from shoal.mini.answers import ChatAnswer, make_head
from shoal.mini.choice import Choice, Writer, answer
from shoal.mini.dialect import ChatRequest
from shoal.mini.engine import Capabilities, Sampling
from shoal.mini.served import ServedChat, encode_fitting
from shoal.mini.streams import ChatStream
from shoal.mini.text import TextStream
from shoal.mini.tools import ChosenReader, NamedReader, Reader, TaggedReader
from shoal.mini.turns import AnswerForm, ToolUse
from shoal.net.exchange import Exchange


async def serve_chat(model: ServedChat, request: ChatRequest, exchange: Exchange) -> None:
    """Answer a chat completion, whole or as a stream. Raises Fault while nothing is sent."""
    can = model.engine.capabilities
    dialect.check_chat(request, can)
    use, form = turns.read_tool_use(request), turns.read_answer_form(request.response_format)
    if form is not None and use.mode == "auto":
        text = "This model cannot choose between tools and a 'response_format'; set 'tool_choice' to 'none' or 'required'."
        raise Fault("unsupported_parameter", text, param="response_format")
    schema = await _settle_schema(model, use, form)
    prompt = await _encode(model, request, use, form, len(exchange.body))
    wanted = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    sampling = make_sampling(request, model.fit(len(prompt), wanted, "messages"), can, schema=schema, logprobs=bool(request.logprobs))
    head = make_head("chatcmpl", model.name, model.fingerprint, len(prompt), dialect.list_dropped(exchange.body, ChatRequest))
    writer: Writer = (
        ChatStream(exchange, head, request.choices, usage=request.wants_usage)
        if request.stream
        else ChatAnswer(exchange, head, request.choices)
    )
    decode = model.engine.tokenizer.decode_bytes
    choices = [
        Choice(i, TextStream(decode, request.stops, logprobs=sampling.logprobs), _make_reader(use), named=use.mode == "named")
        for i in range(request.choices)
    ]
    await answer(model.engine, exchange, choices, [prompt] * len(choices), sampling, writer)


async def _settle_schema(model: ServedChat, use: ToolUse, form: AnswerForm | None) -> str | None:
    """The schema that the answer is held to, as JSON text, checked part by part so that a refusal can name the part."""
    if not use.forced:
        if form is None:
            return None
        schema = _write(form.schema, form.param)
        await model.check_schema(schema, form.param)
        return schema
    for function in use.functions:
        param = f"tools[{function.index}].function.parameters"
        schema = _write(function.schema(), param)
        await model.check_schema(schema, param)
    if len(use.functions) > 1:
        schema = _write(tools.make_choice_schema(use.functions), "tools")
        await model.check_schema(schema, "tools")
    return schema


def _write(schema: dict[str, Any], param: str) -> str:
    try:
        return msgspec.json.encode(schema).decode()
    except RecursionError:
        raise Fault("invalid_value", f"'{param}' is nested too deeply; send a flatter one.", param=param) from None


async def _encode(model: ServedChat, request: ChatRequest, use: ToolUse, form: AnswerForm | None, size: int) -> list[int]:
    template, limit = model.template, model.context_tokens - 1  # the answer has at least one token
    if template is None:
        text = f"'{model.name}' has no chat template: it completes text. Use /v1/completions."
        raise Fault("invalid_value", text, param="model")

    def encode() -> list[int]:
        made = turns.make_turns(request.messages, use, form, template_knows_tools=template.knows_tools)
        offered = tools.describe(use.functions) if use.functions and template.knows_tools else None
        return template.encode(made, offered, limit, continued=bool(request.continue_final_message))

    return await encode_fitting(encode, size, "messages", model.context_tokens)


def _make_reader(use: ToolUse) -> Reader | None:
    if use.forced:
        return NamedReader(use.functions[0].name) if len(use.functions) == 1 else ChosenReader()
    if use.mode == "auto":
        return TaggedReader([function.name for function in use.functions], at_most=None if use.parallel else 1)
    return None


# For callers who ask for nothing in particular the likeliest text: asked for the capital of France, the minnow says Paris, while half its
# samples do not. Several answers at once should differ: they are sampled as the authors of SmolLM2 do. At 1.0 it loses the thread.
_SEVERAL_TEMPERATURE, _SEVERAL_TOP_P = 0.2, 0.9


def make_sampling(
    request: dialect.Generation, max_tokens: int, can: Capabilities, *, schema: str | None = None, logprobs: bool = False
) -> Sampling:
    """How to choose tokens for a checked request; what the engine cannot do is left out. `top_p` 0 leaves the likeliest token only."""
    temperature, top_p = request.temperature, request.top_p
    if temperature is None and top_p is None:
        temperature, top_p = (_SEVERAL_TEMPERATURE, _SEVERAL_TOP_P) if (request.n or 1) > 1 else (0.0, 1.0)
    temperature, top_p = 1.0 if temperature is None else temperature, 1.0 if top_p is None else top_p
    return Sampling(
        max_tokens=max_tokens,
        temperature=temperature if top_p else 0.0,
        top_p=top_p or 1.0,
        seed=request.seed if can.seed else None,
        presence_penalty=(request.presence_penalty or 0.0) if can.penalties else 0.0,
        frequency_penalty=(request.frequency_penalty or 0.0) if can.penalties else 0.0,
        json_schema=schema,
        logprobs=logprobs,
    )
