"""Asks upstreams which models they serve (`GET /models`), so that a server needs nothing but its address in the configuration.

Their answers differ in shape, and some tell more than names: what is there of lengths, prices and abilities is taken.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.core.money import Price
from shoal.providers.channel import Channel

log = logging.getLogger("shoal.providers")

_EVERY_S = 60.0
_RETRY_S = 2.0
_TIMEOUT_S = 10.0
_MODELS_MAX = 5_000
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Found(msgspec.Struct, frozen=True):
    """One model as its upstream describes it. `abilities` None: it does not tell them. `ends_on` is a day, YYYY-MM-DD."""

    id: str
    created: int | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    abilities: Mapping[str, bool] | None = None
    deprecated: bool = False
    ends_on: str | None = None


class Discovery:
    """What each upstream says it serves: `models` maps a provider's name to its models by id. `revision` grows with every change.

    `paths` are where to ask those that do not answer at /models; "root:" before a path leaves out the base URL's own.
    """

    def __init__(self, channels: Mapping[str, Channel], paths: Mapping[str, str] | None = None) -> None:
        self._channels = channels
        self._paths = paths or {}
        self.models: dict[str, dict[str, Found]] = {}
        self.revision = 0
        self._silent: set[str] = set()

    async def follow(self) -> None:
        """Ask everyone for ever, each in its own time: who does not answer is asked again soon, then less and less often."""
        await asyncio.gather(*(self._follow(name) for name in self._channels), asyncio.Event().wait())  # for ever, with nobody to ask, too

    async def _follow(self, provider: str) -> None:
        patience_s = _RETRY_S
        while True:
            await self.ask(provider)
            if provider in self._silent:
                await asyncio.sleep(patience_s)
                patience_s = min(patience_s * 2, _EVERY_S)
            else:
                await asyncio.sleep(_EVERY_S)
                patience_s = _RETRY_S

    async def ask(self, provider: str) -> None:
        """Ask one upstream. One that cannot say keeps what was known; its models are still reached as provider/model."""
        path = self._paths.get(provider, "/models")
        try:
            status, body = await self._channels[provider].get(path.removeprefix("root:"), _TIMEOUT_S, at_root=path.startswith("root:"))
            if status != 200:
                raise Fault("upstream_error", f"status {status}")
            self.learn(provider, read_models(body))
            self._silent.discard(provider)
        except (Fault, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if provider not in self._silent:
                log.warning("the provider %s does not list its models (%s); they are reached as %s/MODEL", provider, error, provider)
            self._silent.add(provider)

    def learn(self, provider: str, models: Iterable[Found]) -> None:
        """Take over what an upstream serves now."""
        found = {model.id: model for model in models}
        if found != self.models.get(provider):
            self.models[provider] = found
            self.revision += 1


def read_models(body: bytes) -> list[Found]:
    """The models of a list, in OpenAI's shape (also Anthropic's, OpenRouter's, vLLM's), Gemini's, Cohere's, or a bare array.

    Errors: msgspec.ValidationError when it is none of these.
    """
    whole = msgspec.json.decode(body)
    rows = next((whole[key] for key in ("data", "models") if key in whole), None) if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        raise msgspec.ValidationError("neither `data` nor `models` is a list")
    return list(_read(rows[:_MODELS_MAX]))


def _read(rows: list[Any]) -> Iterator[Found]:
    for row in rows:
        name = row.get("id") or row.get("name") if isinstance(row, dict) else None
        if isinstance(name, str) and name:
            yield Found(
                id=name.removeprefix("models/"),  # Gemini's names are resources
                created=_whole(row, "created"),
                context_tokens=_whole(row, "context_length", "context_window", "max_model_len", "max_context_length", "inputTokenLimit"),
                max_output_tokens=_whole(row, "max_completion_tokens", "max_output_tokens", "outputTokenLimit")
                or _whole(row.get("top_provider"), "max_completion_tokens"),
                price=_price(row.get("pricing")),
                abilities=_abilities(row),
                deprecated=row.get("is_deprecated") is True,  # https://docs.cohere.com/reference/list-models
                ends_on=_day(row, "expiration_date", "deprecation"),
            )


def _whole(row: Any, *names: str) -> int | None:
    values = (row.get(name) for name in names) if isinstance(row, dict) else ()
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0), None)


def _day(row: Mapping[str, Any], *names: str) -> str | None:
    """OpenRouter's `expiration_date`, and Mistral's `deprecation` without its time (https://docs.mistral.ai/api/#tag/models)."""
    days = (_DAY.match(text) for name in names if isinstance(text := row.get(name), str))
    return next((found[0] for found in days if found), None)


def _price(pricing: Any) -> Price | None:
    """OpenRouter's: USD a token, as texts (https://openrouter.ai/docs/api-reference/list-available-models). -1 is "it depends"."""
    if not isinstance(pricing, dict) or not all(isinstance(pricing.get(name), str) for name in ("prompt", "completion")):
        return None
    try:
        pico = {name: int(Decimal(text) * 10**12) for name, text in pricing.items() if isinstance(text, str)}
    except (ArithmeticError, ValueError):
        return None
    if min(pico["prompt"], pico["completion"]) < 0:
        return None
    read, written = pico["prompt"], pico["completion"]
    return Price(read, written, pico.get("input_cache_read", read), pico.get("input_cache_write", read))


def _abilities(row: Mapping[str, Any]) -> Mapping[str, bool] | None:
    """OpenRouter's `supported_parameters` and `architecture`; elsewhere lists say nothing about this in a common way."""
    parameters, architecture = row.get("supported_parameters"), row.get("architecture")
    inputs = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    if not isinstance(parameters, list) or not isinstance(inputs, list):
        return None
    return {
        "tools": "tools" in parameters,
        "json_schema": "structured_outputs" in parameters,
        "json_object": "response_format" in parameters,
        "reasoning": "reasoning" in parameters,
        "logprobs": "top_logprobs" in parameters,
        "logit_bias": "logit_bias" in parameters,
        "images": "image" in inputs,
        "files": "file" in inputs,
        "audio": "audio" in inputs,
    }
