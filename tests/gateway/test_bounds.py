"""The most that a request can cost: never less than what any usage within its size is charged, and not absurdly more."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.chat import (
    ChatFields,
    CompletionFields,
    EmbeddingFields,
    GenerateFields,
    MessagesFields,
    Request,
    RerankFields,
    ResponseFields,
    read_request,
)
from shoal.core.identity import Markup, charged_nano
from shoal.core.models import Deployment
from shoal.core.money import Price, Tier
from shoal.core.usage import Usage, charge
from shoal.gateway import bounds
from shoal.gateway.bounds import Size, affordable_tokens, measure, most

RATE = st.integers(0, 10**9)
MAYBE = st.none() | RATE
TIER = st.builds(Tier, st.integers(0, 4_000), RATE, RATE, MAYBE, MAYBE, MAYBE)
PRICE = st.builds(
    Price,
    input_pico=RATE,
    output_pico=RATE,
    cache_read_pico=MAYBE,
    cache_write_pico=MAYBE,
    search_pico=MAYBE,
    tiers=st.lists(TIER, max_size=3).map(lambda tiers: tuple(sorted(tiers, key=lambda one: one.above_tokens))),
    cache_write_1h_pico=MAYBE,
    request_pico=RATE,
    web_search_pico=MAYBE,
    audio_input_pico=MAYBE,
    audio_cache_read_pico=MAYBE,
    audio_output_pico=MAYBE,
    reasoning_pico=MAYBE,
)


@st.composite
def usage_within(draw: st.DrawFn, size: Size) -> Usage:
    """Anything that an upstream may report of a request of this size."""

    def part(whole: int) -> int | None:
        return draw(st.none() | st.integers(0, whole))

    read_tokens = draw(st.integers(0, size.input))
    cached = part(read_tokens)
    written = part(read_tokens - (cached or 0))
    spoken = part(read_tokens - (cached or 0))
    said = draw(st.integers(0, (size.output or 0) * size.answers))
    aloud = part(said)
    if draw(st.booleans()):
        return Usage(read_tokens, said, billed_input=draw(st.integers(0, read_tokens)), billed_output=draw(st.integers(0, said)))
    return Usage(
        read_tokens,
        said,
        cached,
        written,
        part(said - (aloud or 0)),
        searches=part(size.searches),
        cache_write_1h=part(written or 0),
        audio_input=spoken,
        audio_output=aloud,
        web_searches=part(size.web_searches),
    )


@given(st.data(), PRICE, st.integers(0, 3_000_000), st.none() | st.integers(0, 3_000))
def test_no_usage_of_a_request_is_charged_more_than_its_bound(data: st.DataObject, price: Price, ppm: int, context: int | None) -> None:
    most_input = 5_000 if context is None else context
    size = Size(
        data.draw(st.integers(0, most_input)),
        data.draw(st.integers(0, 2_000)),
        data.draw(st.integers(1, 4)),
        searches=data.draw(st.integers(0, 3)),
        web_searches=data.draw(st.integers(0, 3)),
    )
    usage = data.draw(usage_within(size))
    deployment = Deployment("up/x", "x", "up", "x", price, context_tokens=context or None)
    cost = charge(usage, price)
    if cost is not None:
        assert charged_nano(cost, ppm) <= most(size, [deployment], lambda _: ppm).nano


@given(PRICE, PRICE, st.integers(0, 1_000_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_dearest_of_all_candidates_counts(one: Price, other: Price, ppm: int, read: int, said: int) -> None:
    size = Size(read, said)
    pair = [Deployment("a", "a", "up", "a", one), Deployment("b", "b", "up", "b", other)]
    markup = {"a": ppm, "b": 0}
    alone = [most(size, [deployment], lambda one: markup[one.id]).nano for deployment in pair]
    assert most(size, pair, lambda one: markup[one.id]).nano == max(alone)


@given(PRICE, st.integers(0, 500_000), st.integers(0, 2_000), st.integers(1, 3), st.integers(0, 10**12))
def test_what_could_be_afforded_can_be(price: Price, ppm: int, read: int, answers: int, nano: int) -> None:
    only = [Deployment("a", "a", "up", "a", price)]
    tokens = affordable_tokens(most(Size(read, 1_000, answers), only, lambda _: ppm), nano)
    if tokens:
        said = read + 32  # bytes of "max_tokens"
        assert most(Size(said, tokens, answers), only, lambda _: ppm).nano <= nano
        assert most(Size(said, tokens + 2, answers), only, lambda _: ppm).nano >= nano - 2


PLAIN = Deployment("a", "a", "up", "a", Price(1_000_000, 2_000_000))


def test_a_deployment_of_unknown_price_holds_nothing() -> None:
    assert most(Size(100, 100), [Deployment("a", "a", "up", "a")]).nano == 0
    assert affordable_tokens(most(Size(100, 100), []), 1_000) == 0


def test_who_does_not_say_how_long_may_get_as_much_as_there_is() -> None:
    size = Size(1_000, None, 2)
    limited = msgspec.structs.replace(PLAIN, max_output_tokens=500)
    assert most(size, [limited]).nano == 1_000 * 1_000 + 2 * 500 * 2_000
    windowed = msgspec.structs.replace(PLAIN, context_tokens=700)
    assert most(size, [windowed]).nano == 700 * 1_000 + 2 * 700 * 2_000
    assert most(size, [PLAIN]).nano == 1_000 * 1_000 + 2 * bounds.UNKNOWN_TOKENS * 2_000


def test_what_is_not_in_the_body_may_fill_the_context() -> None:
    size = Size(10, 0, elsewhere=True)
    assert most(size, [PLAIN]).nano == bounds.UNKNOWN_TOKENS * 1_000
    assert most(size, [msgspec.structs.replace(PLAIN, context_tokens=9_000)]).nano == 9_000_000


def read(fields: type, body: object) -> Request:
    return read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), msgspec.json.Decoder(fields))


CHAT = {"model": "x", "messages": [{"role": "user", "content": "how are you?"}]}


def part(kind: str, **more: object) -> dict[str, object]:
    return {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": [{"type": kind, **more}]}]}


@pytest.mark.parametrize(
    ("fields", "body", "output", "answers"),
    [
        (ChatFields, CHAT, None, 1),
        (ChatFields, CHAT | {"max_tokens": 7}, 7, 1),
        (ChatFields, CHAT | {"max_completion_tokens": 8, "n": 3}, 8, 3),
        (CompletionFields, {"model": "x", "prompt": "a", "max_tokens": 5, "best_of": 4, "n": 2}, 5, 4),
        (CompletionFields, {"model": "x", "prompt": ["a", "b"], "max_tokens": 5}, 5, 2),
        (CompletionFields, {"model": "x", "prompt": [[1, 2], [3]], "max_tokens": 5, "n": 2}, 5, 4),
        (CompletionFields, {"model": "x", "prompt": [1, 2, 3], "max_tokens": 5}, 5, 1),
        (ResponseFields, {"model": "x", "input": "a", "max_output_tokens": 6}, 6, 1),
        (MessagesFields, CHAT | {"max_tokens": 4}, 4, 1),
        (GenerateFields, {"contents": [], "generationConfig": {"maxOutputTokens": 3, "candidateCount": 2}}, 3, 2),
        (GenerateFields, {"contents": [], "generation_config": {"max_output_tokens": 3, "candidate_count": 2}}, 3, 2),
        (GenerateFields, {"contents": [], "generationConfig": {"maxOutputTokens": "many"}}, None, 1),
        (GenerateFields, {"contents": []}, None, 1),
    ],
)
def test_the_length_of_answers_is_found_in_every_dialect(fields: type, body: object, output: int | None, answers: int) -> None:
    size = measure("chat", read(fields, body))
    assert (size.output, size.answers) == (output, answers)
    assert not size.elsewhere
    assert size.input >= len(json.dumps(body))


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (ChatFields, part("image_url", image_url={"url": "https://example.test/a.png"})),
        (ChatFields, part("input_audio", input_audio={})),
        (ChatFields, part("file", file={"file_id": "file_1"})),
        (MessagesFields, part("image", source={"type": "url", "url": "https://example.test/a.png"})),
        (MessagesFields, part("document", source={"type": "url", "url": "https://example.test/a.pdf"})),
        (MessagesFields, CHAT | {"max_tokens": 4, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        (ResponseFields, {"model": "x", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.test"}]}]}),
        (ResponseFields, {"model": "x", "input": "a", "tools": [{"type": "file_search", "vector_store_ids": ["a"]}]}),
        (GenerateFields, {"contents": [{"parts": [{"fileData": {"fileUri": "https://a.test"}}]}]}),
        (GenerateFields, {"contents": [{"parts": [{"inline_data": {"data": "aaaa"}}]}]}),
        (ChatFields, json.dumps(part("image_url", image_url={"url": "https://a.test"})).replace("e_url", "e\\u005furl").encode()),
    ],
)
def test_pictures_files_and_searches_are_seen_in_every_dialect(fields: type, body: object) -> None:
    assert measure("chat", read(fields, body)).elsewhere


def test_words_about_pictures_are_words() -> None:
    text = 'say "image_url" and "type": "image"'
    size = measure("chat", read(ChatFields, part("text", text=text)))
    assert not size.elsewhere


def test_searches_in_the_web_are_expected_where_they_are_asked_for() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert measure("chat", read(MessagesFields, CHAT | {"max_tokens": 4, "tools": tools})).web_searches
    assert not measure("chat", read(ChatFields, part("image_url", image_url={"url": "https://example.test/a.png"}))).web_searches


def test_tools_bring_the_providers_own_words_along() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with_tool = measure("chat", read(ChatFields, CHAT | {"tools": [tool]}))
    assert with_tool.input > len(json.dumps(CHAT | {"tools": [tool]})) + 1_000


def test_embeddings_have_no_output_and_rankings_have_searches() -> None:
    size = measure("embeddings", read(EmbeddingFields, {"model": "x", "input": ["a", "b"]}))
    assert (size.output, size.searches) == (0, 0)
    short = measure("rerank", read(RerankFields, {"model": "x", "query": "q", "documents": ["a"] * 90}))
    assert (short.output, short.searches) == (0, 1)
    long = measure("rerank", read(RerankFields, {"model": "x", "query": "q", "documents": ["a" * 2_000] * 100}))
    assert long.searches == 12


def test_a_markup_is_found_by_the_first_name_that_has_one() -> None:
    markup = Markup(10, {"route/fast": 20, "gpt": 30})
    assert markup.of(("route/fast", "gpt")) == 20
    assert markup.of(("gpt", "up/gpt")) == 30
    assert markup.of(("other",)) == 10


@given(st.integers(0, 10**15), st.integers(0, 10**7))
def test_a_markup_is_rounded_up_once(cost: int, ppm: int) -> None:
    charged = charged_nano(cost, ppm)
    assert 0 <= charged * 1_000_000 - cost * (1_000_000 + ppm) < 1_000_000


def test_an_answer_that_may_be_hurried_is_bound_by_the_dearest_tier() -> None:
    hurried = measure("chat", read(ChatFields, CHAT | {"service_tier": "priority", "max_tokens": 10}))
    calm = measure("chat", read(ChatFields, CHAT | {"max_tokens": 10}))
    tiers = {"flex": Price(1, 1), "priority": Price(5_000_000, 9_000_000)}
    deployment = msgspec.structs.replace(PLAIN, price=msgspec.structs.replace(PLAIN.price, service_tiers=tiers))
    assert most(calm, [deployment]).nano == calm.input * 1_000 + 10 * 2_000
    assert most(hurried, [deployment]).nano == hurried.input * 5_000 + 10 * 9_000
    assert most(calm, [deployment]).nano == calm.input * 1_000 + 10 * 2_000
