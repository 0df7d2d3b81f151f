"""How the answer is wanted: `generationConfig`. See https://ai.google.dev/api/generate-content#generationconfig."""

from typing import Any

import msgspec

from shoal.core.conversation import Conversation, Format, Sampling
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.wire.gemini import thinking
from shoal.wire.gemini.members import Members
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.schema import to_json_schema

_NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "seed": "seed",
    "candidateCount": "n",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_READ = (*_NUMBERS, "stopSequences", "maxOutputTokens", "thinkingConfig", "responseMimeType", "responseSchema", "responseJsonSchema")


def write(conversation: Conversation, deployment: Deployment, dropped: set[str]) -> Json:
    """`generationConfig`, empty where nothing was asked. Errors: Fault unsupported_parameter for logit_bias, which Google has not."""
    sampling = conversation.sampling
    if sampling.logit_bias:
        raise Fault("unsupported_parameter", "Gemini models have no logit_bias.", param="logit_bias")
    found = {name: getattr(sampling, ours) for name, ours in _NUMBERS.items()}
    out: Json = {name: value for name, value in found.items() if value is not None}
    if sampling.stop:
        out["stopSequences"] = list(sampling.stop)
    if conversation.max_tokens is not None:
        out["maxOutputTokens"] = conversation.max_tokens
    if conversation.format is not None:
        out["responseMimeType"] = "application/json"
        if conversation.format.schema is not None:
            out["responseJsonSchema"] = conversation.format.schema
    if conversation.thinking is not None:
        thinks = deployment.capabilities.reasoning is not False
        config = thinking.write(conversation.thinking, deployment.upstream_model) if thinks else None
        if config is None:
            dropped.add("reasoning_effort")
        elif config:
            out["thinkingConfig"] = config
    return out


def read_sampling(config: Members) -> Sampling:
    """A caller's sampling."""
    return Sampling(
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.integer("topK"),
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
        seed=config.integer("seed"),
        stop=config.texts("stopSequences"),
        n=config.integer("candidateCount"),
        logprobs=config.flag("responseLogprobs"),
        top_logprobs=config.integer("logprobs"),
    )


def read_format(config: Members) -> Format | None:
    """A caller's `responseMimeType` and schema. Errors: Fault unsupported_parameter for a type that only Google writes."""
    kind = config.text("responseMimeType")
    schema: Any = config.get("responseJsonSchema") or to_json_schema(config.get("responseSchema"))
    if kind in (None, "", "text/plain"):
        return None
    if kind != "application/json":
        place = config.where("responseMimeType")
        raise Fault("unsupported_parameter", f"Answers of the type {kind!r} can be had from Google's models alone.", param=place)
    return Format(msgspec.Raw(msgspec.json.encode(schema)) if schema is not None else None)


def read_rest(config: Members) -> dict[str, msgspec.Raw]:
    """What no other dialect has a word for, by its whole name."""
    return {config.where(name): raw for name, raw in config.others(_READ).items()}
