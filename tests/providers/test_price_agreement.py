"""What we charge is what genai-prices itself computes, to the nano-dollar, for every model on the price lists of our rows: caches, lengths,
times of the day, and what is priced besides tokens. Where it is not so, the reason stands in this file.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import Any

import msgspec
import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.conversation import Conversation
from shoal.core.money import Price
from shoal.core.usage import Usage, charge
from shoal.providers.discovery import Discovery
from shoal.providers.offers import Offers
from shoal.providers.prices import PriceList, find_list
from shoal.providers.registry import load
from shoal.providers.row import read_rows
from shoal.wire import dialects

LISTS = sorted({row.prices for row in read_rows().values() if row.prices})
TIMES = (datetime(2026, 11, 25, 3, tzinfo=UTC), datetime(2026, 11, 25, 17, 30, tzinfo=UTC), datetime(2027, 6, 6, 0, 30, tzinfo=UTC))
BLOCKS = (  # input, output, cache reads and writes: around the lengths at which prices change, with all, some and nothing from a cache
    (0, 0, 0, 0),
    (1, 1, 0, 0),
    (1_000, 100, 0, 0),
    (12_345, 678, 12_345, 0),
    (12_345, 678, 0, 12_345),
    (32_001, 1, 0, 32_000),
    (128_000, 9, 64_000, 0),
    (128_001, 9, 64_000, 1),
    (200_000, 1_000, 100_000, 7),
    (200_001, 1_000, 5_000, 200),
    (272_001, 5, 3, 2),
    (1_000_001, 333, 999_999, 1),
)
NO_TOKENS = {"audio_hours", "input_audio_hours", "input_mchars", "input_document_kpages", "input_text_messages_kcount", "requests_kcount"}
"""What is sold by the hour, the page or the letter is no chat; `cost` is null there."""


@cache
def listed(provider: str) -> list[tuple[Any, Any, Any]]:
    """Provider and model as genai-prices has them, and the model as we have it."""
    theirs = data_snapshot.get_snapshot().find_provider(None, provider, None)
    own: dict[str, Any] = {}
    for model in theirs.models:
        own.setdefault(model.id, model)
    return [(theirs, own[one.id], one) for one in find_list(provider) if not one.borrowed]


def rates(model: Any, when: datetime) -> dict[str, Any]:
    """What a model is priced by then."""
    return {name: value for name, value in vars(model.get_prices(when)).items() if value is not None}


def nano(theirs: Any, model: Any, when: datetime, **counts: int) -> int:
    """Their price, rounded up to the nano-dollar: our amounts are whole nano-dollars, and never less than what was used."""
    price = model.calc_price(TheirUsage(**counts), theirs, genai_request_timestamp=when).total_price
    return int((price * 10**9).to_integral_value(ROUND_CEILING))


def priced() -> Iterator[tuple[Any, Any, Price, datetime]]:
    """Everything that has a price of ours, whenever it does."""
    for provider in LISTS:
        for theirs, model, ours in listed(provider):
            for when in TIMES:
                price = ours.price(when.timestamp())
                if price is not None:
                    yield theirs, model, price, when


def is_finer(model: Any, when: datetime) -> bool:
    """Whether a rate is not a whole number of pico-dollars a token, as ours are: OpenRouter lists thirds of a cent, with 16 digits."""
    found = [rate for name, rate in rates(model, when).items() if name.endswith("_mtok") and not hasattr(rate, "tiers")]
    return any((Decimal(str(rate)) * 10**6) % 1 for rate in found)


def test_there_are_enough_of_them() -> None:
    assert len(LISTS) >= 20
    assert sum(len(listed(provider)) for provider in LISTS) > 1_700


@pytest.mark.parametrize("provider", LISTS)
def test_every_model_costs_what_genai_prices_says(provider: str) -> None:
    compared = 0
    for theirs, model, ours in listed(provider):
        for when in TIMES:
            price = ours.price(when.timestamp())
            if price is None:
                continue
            finer = is_finer(model, when)
            for read, written, cached, stored in BLOCKS:
                counts = {"input_tokens": read, "output_tokens": written, "cache_read_tokens": cached, "cache_write_tokens": stored}
                want = nano(theirs, model, when, **counts)
                got = charge(Usage(input=read, output=written, cache_read=cached, cache_write=stored), price)
                assert got is not None, model.id
                assert got == want or (finer and abs(got - want) <= 1 + (read + written) / 2000), (model.id, read, got, want)
                compared += 1
    assert compared > len(BLOCKS)


def test_few_prices_are_finer_than_ours() -> None:
    finer = {(theirs.id, name) for theirs, model, _, when in priced() if is_finer(model, when) for name in rates(model, when)}
    assert {provider for provider, _ in finer} <= {"openrouter"}
    some = [model for theirs, model, _, when in priced() if theirs.id == "openrouter" and is_finer(model, when)]
    assert len({model.id for model in some}) < 40


def test_what_has_no_price_here_is_not_sold_by_the_token() -> None:
    for provider in LISTS:
        for _, model, ours in listed(provider):
            for when in TIMES:
                if ours.price(when.timestamp()) is None:
                    assert not {"input_mtok", "output_mtok"} & set(rates(model, when)), model.id
                    assert set(rates(model, when)) <= NO_TOKENS | {"input_annotated_document_kpages"}, model.id


@pytest.mark.parametrize(
    ("theirs_name", "ours_name"),
    [("input_audio_tokens", "audio_input"), ("output_audio_tokens", "audio_output"), ("output_reasoning_tokens", "reasoning")],
)
def test_speech_and_thought_cost_what_genai_prices_says(theirs_name: str, ours_name: str) -> None:
    compared = 0
    for theirs, model, price, when in priced():
        if theirs_name.removesuffix("_tokens") + "_mtok" not in rates(model, when):
            continue
        for read, written, part in ((1_000, 1_000, 0), (1_000, 1_000, 1_000), (200_001, 5_000, 1_234)):
            want = nano(theirs, model, when, input_tokens=read, output_tokens=written, **{theirs_name: part})
            usage = msgspec.convert({"input": read, "output": written, ours_name: part}, Usage)
            assert charge(usage, price) == want, model.id
            compared += 1
    assert compared >= 3


def test_speech_from_a_cache_costs_what_genai_prices_says() -> None:
    compared = 0
    for theirs, model, price, when in priced():
        if not {"cache_audio_read_mtok", "input_audio_mtok", "cache_read_mtok"} <= set(rates(model, when)):
            continue
        asked = {"input_tokens": 9_000, "output_tokens": 7, "cache_read_tokens": 5_000, "input_audio_tokens": 4_000}
        want = nano(theirs, model, when, **asked, cache_audio_read_tokens=3_000)
        got = charge(Usage(input=9_000, output=7, cache_read=5_000, audio_input=4_000, audio_cache_read=3_000), price)
        assert got == want, model.id
        compared += 1
    assert compared >= 3


def test_caches_for_an_hour_and_searches_cost_what_genai_prices_says() -> None:
    hours = searches = 0
    for theirs, model, price, when in priced():
        names = set(rates(model, when))
        if {"cache_write_1h_mtok", "cache_write_mtok"} <= names:
            asked = {"input_tokens": 250_000, "output_tokens": 9, "cache_write_tokens": 1_000, "cache_write_1h_tokens": 400}
            got = charge(Usage(input=250_000, output=9, cache_write=1_000, cache_write_1h=400), price)
            assert got == nano(theirs, model, when, **asked), model.id
            hours += 1
        if "web_searches_kcount" in names:
            got = charge(Usage(input=100, output=9, web_searches=3), price)
            assert got == nano(theirs, model, when, input_tokens=100, output_tokens=9, web_searches=3), model.id
            searches += 1
    assert hours > 50
    assert searches > 50


def test_a_request_costs_what_genai_prices_says() -> None:
    sonar = {model.id: (theirs, model, ours) for theirs, model, ours in listed("perplexity")}
    theirs, model, ours = sonar["sonar-pro"]
    assert "requests_kcount" in rates(model, TIMES[0])
    price = ours.price(TIMES[0].timestamp())
    got = charge(Usage(input=1_000, output=100), price)
    assert got == nano(theirs, model, TIMES[0], input_tokens=1_000, output_tokens=100)
    assert got is not None
    assert got > 4_000_000


@given(st.data())
def test_any_usage_of_any_model_costs_what_genai_prices_says(data: st.DataObject) -> None:
    theirs, model, ours = data.draw(st.sampled_from(listed(data.draw(st.sampled_from(LISTS)))))
    when = data.draw(st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)))
    price = ours.price(when.timestamp())
    if price is None or is_finer(model, when):
        return
    read = data.draw(st.integers(0, 2_000_000))
    cached = data.draw(st.integers(0, read))
    stored = data.draw(st.integers(0, read - cached))
    written = data.draw(st.integers(0, 200_000))
    counts = {"input_tokens": read, "output_tokens": written, "cache_read_tokens": cached, "cache_write_tokens": stored}
    got = charge(Usage(input=read, output=written, cache_read=cached, cache_write=stored), price)
    assert got == nano(theirs, model, when, **counts)


def spoken(**usage: Any) -> dict[str, Any]:
    """A chat completion with this usage."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def counted(prompt: int, completion: int, total: int | None = None, **more: Any) -> dict[str, Any]:
    """OpenAI's usage."""
    return spoken(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total or prompt + completion, **more)


CACHED: dict[str, Any] = {"prompt_tokens_details": {"cached_tokens": 1_024}}
THOUGHT: dict[str, Any] = {"completion_tokens_details": {"reasoning_tokens": 300}}
CLAUDE = {
    "type": "message",
    "id": "m",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "x"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 90,
        "cache_read_input_tokens": 250_000,
        "cache_creation_input_tokens": 700,
        "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 321,
        "server_tool_use": {"web_search_requests": 2},
    },
}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}],
    "modelVersion": "m",
    "usageMetadata": {
        "promptTokenCount": 9_000,
        "cachedContentTokenCount": 4_000,
        "candidatesTokenCount": 60,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 9_100,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6_000}, {"modality": "AUDIO", "tokenCount": 3_000}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 3_000}, {"modality": "AUDIO", "tokenCount": 1_000}],
    },
}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 90, "outputTokens": 321, "totalTokens": 411, "cacheReadInputTokens": 1_000, "cacheWriteInputTokens": 700},
}
COHERE = {
    "id": "c",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
    "usage": {"billed_units": {"input_tokens": 17, "output_tokens": 9}, "tokens": {"input_tokens": 400, "output_tokens": 30}},
}
SONAR: dict[str, Any] = {"citation_tokens": 2_000, "num_search_queries": 18, "reasoning_tokens": 7_300}
ANSWERS: list[tuple[str, str, str, str, dict[str, Any]]] = [  # provider, its list, a model, their name for the API, a whole answer
    ("openai", "openai", "gpt-4o", "chat", counted(2_000, 100, **CACHED)),
    ("openai", "openai", "gpt-5", "chat", counted(300_000, 900, **CACHED, **THOUGHT)),
    ("openai", "openai", "gpt-4o-audio-preview", "chat", counted(2_000, 100, prompt_tokens_details={"audio_tokens": 1_500})),
    ("anthropic", "anthropic", "claude-sonnet-4-5", "default", CLAUDE),
    ("gemini", "google", "gemini-2.5-flash", "default", GEMINI),
    ("gemini", "google", "gemini-2.5-pro", "default", GEMINI),
    ("bedrock", "aws", "anthropic.claude-sonnet-4-5-20250929-v1:0", "default", CONVERSE),
    ("cohere", "cohere", "command-a-03-2025", "default", COHERE),
    ("deepseek", "deepseek", "deepseek-chat", "chat", counted(5_000, 70, **CACHED, prompt_cache_hit_tokens=1_024)),
    ("groq", "groq", "openai/gpt-oss-120b", "default", counted(2_000, 400, **CACHED, **THOUGHT)),
    ("mistral", "mistral", "mistral-large-latest", "default", counted(2_000, 400)),
    ("xai", "x-ai", "grok-4", "chat", counted(200_000, 100, 200_400, **CACHED, **THOUGHT)),
    ("cerebras", "cerebras", "gpt-oss-120b", "chat", counted(2_000, 400)),
    ("fireworks", "fireworks", "accounts/fireworks/models/deepseek-v4-pro", "chat", counted(2_000, 400, **CACHED)),
    ("moonshot", "moonshotai", "kimi-k2.5", "chat", counted(2_000, 400, **CACHED)),
    ("zai", "zai", "glm-4.6", "chat", counted(2_000, 400, **CACHED, **THOUGHT)),
    ("openrouter", "openrouter", "openai/gpt-4o", "chat", counted(2_000, 400, **CACHED)),
    ("perplexity", "perplexity", "sonar-pro", "default", counted(2_000, 400)),
    ("perplexity", "perplexity", "sonar-deep-research", "default", counted(33, 7_163, **SONAR)),
    ("cloudflare", "cloudflare", "@cf/openai/gpt-oss-120b", "chat", counted(2_000, 400)),
]


@pytest.mark.parametrize(("provider", "prices", "model", "flavour", "answer"), ANSWERS)
def test_an_answer_costs_what_genai_prices_reads_out_of_it(
    provider: str, prices: str, model: str, flavour: str, answer: dict[str, Any]
) -> None:
    when = TIMES[0]
    theirs = data_snapshot.get_snapshot().find_provider(None, prices, None)
    known = theirs.find_model(model)
    assert known is not None
    _, their_usage = theirs.extract_usage(answer, api_flavor=flavour)
    want = known.calc_price(their_usage, theirs, genai_request_timestamp=when).total_price
    conversation = Conversation(model="m", messages=())
    seen = dialects.UPSTREAMS[read_rows()[provider].dialect].answer(json.dumps(answer).encode(), conversation)
    ours = PriceList(find_list(prices)).find(model)
    assert ours is not None
    assert charge(seen.usage, ours.price(when.timestamp())) == int((want * 10**9).to_integral_value(ROUND_CEILING))


def test_answers_are_of_enough_providers() -> None:
    assert len({provider for provider, *_ in ANSWERS}) >= 16


def test_every_model_has_its_price_under_the_name_that_it_is_asked_by() -> None:
    rows = read_rows()
    places = {"AZURE_RESOURCE_NAME": "x", "CLOUDFLARE_ACCOUNT_ID": "x", "GOOGLE_CLOUD_PROJECT": "x"}
    providers = load({}, places | {name: "k" for row in rows.values() for name in row.api_key_env})
    lists = {prices: PriceList(find_list(prices)) for prices in LISTS}
    offers = Offers(providers, lists, Discovery({}), TIMES[0].timestamp)
    counts = dict.fromkeys(offers.reachable, 0)
    for provider in offers.reachable:
        for name in offers.names(provider):
            counts[provider] += 1
            assert offers.deployment(provider, name, name).price is not None, (provider, name)
            if provider == "fireworks":
                assert name.startswith("accounts/fireworks/")
    assert sum(count > 5 for count in counts.values()) > 15


NOT_CHARGED = {
    "input_image_mtok": "pictures are counted as text: no usage that we read tells their tokens apart",
    "output_image_mtok": "the gateway has no endpoint for pictures",
    "cache_image_read_mtok": "as above",
    "input_video_mtok": "as above",
    "output_video_mtok": "as above",
    "storage_searches_kcount": "no usage tells how many searches in files were made",
    "audio_hours": "speech by the hour is no chat",
    "input_audio_hours": "as above",
}
"""Rates that are on the lists, and that no charge of ours knows. Prices for a processing of its own (batch, service tiers, a fast mode) are
not used either: an answer is charged at the standard rates."""


def test_every_other_rate_is_known_not_to_be_charged() -> None:
    ours = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "input_audio_mtok"}
    ours |= {"output_audio_mtok", "cache_audio_read_mtok", "output_reasoning_mtok", "requests_kcount", "web_searches_kcount"}
    ours |= {"output_citation_mtok"}
    found = {name for _, model, _, when in priced() for name in rates(model, when)}
    assert found - ours <= set(NOT_CHARGED)
