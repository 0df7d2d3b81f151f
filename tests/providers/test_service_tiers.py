"""Answers that were hurried, or could wait, cost what is asked for that; where that is not known, their cost is not known either."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from genai_prices import data_snapshot

from caller import Caller, chat
from conftest import config
from installation import Installation
from shoal.core.models import Deployment
from shoal.core.money import Price, pico_per_token
from shoal.core.usage import Usage, charge, service_tier
from shoal.gateway.bounds import Size, most
from shoal.providers.prices import find_list
from shoal.wire.anthropic import usage as anthropic_usage
from shoal.wire.bedrock.answers import ServiceTier, TokenUsage, read_usage
from shoal.wire.gemini import usage as gemini_usage
from shoal.wire.gemini.shapes import UsageMetadata
from upstream import DONE, LAST, USAGE, Upstream, completion, delta, says, stream, whole

TIMES = (datetime(2026, 11, 25, tzinfo=UTC), datetime(2027, 3, 3, tzinfo=UTC))
PRICE = Price(1_000_000, 2_000_000, service_tiers={"flex": Price(500_000, 1_000_000)})
USED = Usage(input=1000, output=100)


@pytest.mark.parametrize("provider", ["openai", "google", "anthropic"])
def test_tiers_are_priced_as_genai_prices_has_them(provider: str) -> None:
    theirs = {model.id: model for model in data_snapshot.get_snapshot().find_provider(None, provider, None).models}
    compared = 0
    for ours in find_list(provider):
        for when in TIMES if not ours.borrowed else ():
            price = ours.price(when.timestamp())
            for word, tier in (price.service_tiers if price else {}).items():
                key = "speed" if provider == "anthropic" else "service_tier"
                listed = theirs[ours.id].get_prices(when, {key: word})
                for name, pico in (("input_mtok", tier.input_pico), ("output_mtok", tier.output_pico)):
                    rate = getattr(listed, name)
                    assert pico_per_token(str(getattr(rate, "base", rate))) == pico, (ours.id, word, name)
                    compared += 1
    assert compared > 10


def test_an_unknown_tier_is_not_the_usual_price() -> None:
    assert charge(USED, PRICE) == 1_200_000
    assert charge(msgspec.structs.replace(USED, service_tier="flex"), PRICE) == 600_000
    assert charge(msgspec.structs.replace(USED, service_tier="priority"), PRICE) is None


@pytest.mark.parametrize("word", [None, "", "default", "standard", "auto", "on_demand", "DEFAULT"])
def test_standard_tiers_are_none(word: str | None) -> None:
    assert service_tier(word) is None


def test_a_hold_is_for_the_dearest_tier_that_may_be_used() -> None:
    price = msgspec.structs.replace(PRICE, service_tiers={"priority": Price(2_000_000, 4_000_000)})
    deployment = Deployment("a/m", "m", "a", "m", price)
    plain, hurried = most(Size(100, 10), [deployment]), most(Size(100, 10, hurried=True), [deployment])
    assert (plain.nano, hurried.nano) == (120_000, 240_000)


def test_every_dialect_tells_it() -> None:
    said = b'{"input_tokens":1,"output_tokens":1,"service_tier":"%b","speed":"%b"}'
    tiers = [anthropic_usage.read(said % words).usage().service_tier for words in ((b"standard", b"standard"), (b"priority", b"standard"))]
    assert [*tiers, anthropic_usage.read(said % (b"standard", b"fast")).usage().service_tier] == [None, "priority", "fast"]
    google = {"service_tier": ["STANDARD", "FLEX", "priority"], "traffic_type": ["ON_DEMAND", "ON_DEMAND_FLEX", "ON_DEMAND_PRIORITY"]}
    for member, words in google.items():
        read: list[Any] = [gemini_usage.read(UsageMetadata(prompt_token_count=1, **{member: word})).service_tier for word in words]
        assert read == [None, "flex", "priority"]
    assert [read_usage(TokenUsage(), ServiceTier(word)).service_tier for word in ("default", "flex")] == [None, "flex"]


MORE = """
[models.listed]
deployments = [{ provider = "up", model = "hurried", price_like = "openai/gpt-5" }]
[models.told]
deployments = [{ provider = "up", model = "hurried", price = { input = 1.0, output = 2.0 } }]
[models.tiered]
deployments = [{ provider = "up", model = "hurried", price = { input = 1, output = 2, service_tiers.Flex = { input = 0, output = 1 } } }]
"""


@pytest.fixture(scope="module")
def pricing(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("tiers"), config(upstream, more=MORE)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("tier", "listed", "told", "tiered"), [("default", 11.25 + 30, 15, 15), ("flex", 5.625 + 15, None, 3), ("scale", None, None, None)]
)
def test_an_answer_costs_what_its_tier_does(
    pricing: Installation,
    upstream: Upstream,
    tier: str,
    listed: float | None,
    told: float | None,
    tiered: float | None,
    path: str,
    streamed: bool,
) -> None:
    last = LAST.replace(b'"usage"', b'"service_tier": "%b", "usage"' % tier.encode())
    events = stream([delta("Hi."), delta(None, "stop"), last, DONE])
    upstream.play("hurried", says(events if streamed else whole(completion(service_tier=tier))))
    assert USAGE["prompt_tokens"] == 9 and USAGE["completion_tokens"] == 3
    for model, micro_usd in (("listed", listed), ("told", told), ("tiered", tiered)):
        with Caller(pricing.port, pricing.key) as caller:
            answer = caller.ask(chat(model, stream=streamed, max_tokens=5), path)
            assert answer.status == 200
            cost = answer.body.partition(b'"cost_usd":')[2].partition(b",")[0]
            assert cost == (b"null" if micro_usd is None else _usd(micro_usd))
            assert (b"for the service tier that was used" in answer.body) == (micro_usd is None)


def _usd(micro: float) -> bytes:
    """Micro-USD as a receipt writes USD: rounded up to the nano-dollar."""
    nano = -(-int(micro * 1000 * 1000) // 1000)
    return f"0.{nano:09d}".rstrip("0").encode()
