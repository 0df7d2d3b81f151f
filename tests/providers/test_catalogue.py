"""Which deployments a name stands for: configured, exact, bare, in this order; an unknown name gets the variable to set, or the nearest."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.money import Price, Tier
from shoal.providers import registry
from shoal.providers.catalogue import Catalogue
from shoal.providers.discovery import Discovery, Found
from shoal.providers.offers import Offers
from shoal.providers.options import DeploymentSettings, ModelSettings, PriceSettings, ProviderSettings, TierSettings
from shoal.providers.prices import Clause, Listed, PriceList, Rate

OPENAI = (
    Listed("gpt-4o", ("gpt-4o",), None, (Rate(Price(25, 100)),), 128_000),
    Listed("gpt-4o-mini", ("gpt-4o-mini",), Clause("starts_with", "gpt-4o-mini-"), (Rate(Price(1, 2, tiers=(Tier(9, 3, 4),))),), 128_000),
    Listed("gpt-4-old", ("gpt-4-old",), None, (Rate(Price(9, 9)),), deprecated=True),
)
AZURE = (Listed("gpt-4o", ("gpt-4o",), None, (Rate(Price(26, 101)),), borrowed=True),)
AWS = (
    Listed("regional.anthropic.claude-opus-4-5-20251101-v1:0", (), Clause("contains", "claude-opus-4-5"), (Rate(Price(5, 25)),), 200_000),
)
LISTS = {"openai": PriceList(OPENAI), "azure": PriceList(AZURE), "aws": PriceList(AWS)}
KEYS = {"OPENAI_API_KEY": "a", "AWS_BEARER_TOKEN_BEDROCK": "b"}
HERE = {
    "house": ProviderSettings(base_url="http://127.0.0.1:1/v1", like="vllm"),
    "other": ProviderSettings(base_url="http://127.0.0.1:2/v1"),
}
MODELS = {
    "gpt": ModelSettings([DeploymentSettings("openai", "gpt-4o"), DeploymentSettings("house", "llama", weight=2.0)]),
    "kept": ModelSettings([DeploymentSettings("groq", "llama"), DeploymentSettings("house", "llama")]),
    "keyless": ModelSettings([DeploymentSettings("groq", "llama")]),
}


class Clock:
    """A time of day that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def catalogue(
    models: dict[str, ModelSettings] | None = None, like: dict[str, Price | str] | None = None, clock: Clock | None = None
) -> tuple[Catalogue, Discovery]:
    """OpenAI and Bedrock by their keys, two servers of our own of which one has said what it serves."""
    discovery = Discovery({})
    discovery.learn("house", [Found("llama", context_tokens=4096), Found("org/Big-Llama", created=7), Found("gpt-4o")])
    offers = Offers(registry.load(HERE, KEYS), LISTS, discovery, clock or Clock())
    return Catalogue(MODELS if models is None else models, like or {}, offers, started_s=99), discovery


def found(name: str) -> list[tuple[str, str]]:
    """Provider and upstream model of each deployment."""
    return [(one.provider, one.upstream_model) for one in catalogue()[0].resolve(name)]


@pytest.mark.parametrize(
    ("name", "deployments"),
    [
        ("gpt", [("openai", "gpt-4o"), ("house", "llama")]),  # configured
        ("kept", [("house", "llama")]),  # the provider without a key is left out
        ("openai/gpt-4o", [("openai", "gpt-4o")]),  # exact
        ("openai/brand/new", [("openai", "brand/new")]),
        ("other/anything", [("other", "anything")]),
        ("gpt-4o", [("house", "gpt-4o"), ("openai", "gpt-4o")]),  # bare, at all that serve it, one's own first
        ("gpt-4o-mini-2024-07-18", [("openai", "gpt-4o-mini-2024-07-18")]),  # another name of a listed one
        ("org/big-llama", [("house", "org/Big-Llama")]),
        ("big-llama", [("house", "org/Big-Llama")]),
        ("claude-opus-4-5", [("bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0")]),
        ("claude-opus-4.5", [("bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0")]),
        ("anthropic.claude-opus-4-5-20251101-v1:0", [("bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0")]),
        ("gpt-4-old", [("openai", "gpt-4-old")]),  # not shown any more, but known
    ],
)
def test_names(name: str, deployments: list[tuple[str, str]]) -> None:
    assert found(name) == deployments


def test_what_is_known_of_a_model_is_in_its_deployment() -> None:
    (mini,) = catalogue()[0].resolve("gpt-4o-mini-2024-07-18")
    assert (mini.id, mini.model) == ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18")
    assert mini.price == Price(1, 2, tiers=(Tier(9, 3, 4),))
    assert (mini.context_tokens, mini.max_output_tokens, mini.dialect) == (128_000, 16_384, "openai_chat")
    assert mini.capabilities.tools is True
    assert mini.capabilities.reasoning is False
    assert mini.collects_data is False
    (pro,) = catalogue()[0].resolve("openai/gpt-5-pro")
    assert pro.dialect == "openai_responses"
    (opus,) = catalogue()[0].resolve("claude-opus-4-5")
    assert (opus.dialect, opus.region, opus.capabilities.prefill, opus.capabilities.logprobs) == ("bedrock", "us-east-1", True, False)
    (llama,) = catalogue()[0].resolve("house/llama")
    assert (llama.price, llama.context_tokens, llama.capabilities.prefill) == (None, 4096, True)


def test_the_configuration_has_the_last_word() -> None:
    price = PriceSettings(2.5, 10, cache_read=1.25, tiers=(TierSettings(200, 5, 20), TierSettings(100, 4, 15)))
    said = DeploymentSettings(
        "openai", "gpt-4o", 3.0, price, context_tokens=9, has=["audio"], lacks=["tools"], prefill=True, region="mars", quantization="fp8"
    )
    like = DeploymentSettings("openai", "gpt-4o", price_like="x/y")
    models = {"mine": ModelSettings([said, like, msgspec.structs.replace(like, price_like="no/such")])}
    mine, priced, unpriced = catalogue(models, {"x/y": Price(7, 8), "no/such": "no list price is known"})[0].resolve("mine")
    assert (mine.id, mine.model, mine.weight, mine.context_tokens, mine.region, mine.quantization) == (
        "mine#0",
        "mine",
        3.0,
        9,
        "mars",
        "fp8",
    )
    assert mine.price == Price(2_500_000, 10_000_000, 1_250_000, tiers=(Tier(100, 4_000_000, 15_000_000), Tier(200, 5_000_000, 20_000_000)))
    can = mine.capabilities
    assert (can.audio, can.tools, can.images, can.prefill) == (True, False, True, True)
    assert (priced.price, unpriced.price) == (Price(7, 8), None)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("groq/llama-3.1-8b-instant", "GROQ_API_KEY"),
        ("claude-sonnet-9", "ANTHROPIC_API_KEY"),
        ("keyless", "GROQ_API_KEY"),
        ("azure/mine", "AZURE_OPENAI_ENDPOINT"),
        ("ollama/llama", "OLLAMA_HOST"),
    ],
)
def test_a_provider_out_of_reach_names_what_to_set(name: str, variable: str) -> None:
    with pytest.raises(Fault) as raised:
        catalogue()[0].resolve(name)
    assert (raised.value.kind, raised.value.status, raised.value.param) == ("provider_not_configured", 400, "model")
    assert variable in raised.value.message


@pytest.mark.parametrize("name", ["nobody/gpt-4o", "openai/", "/gpt-4o", "", "gpt4o-min", "minnow/minnow-x"])
def test_an_unknown_name_is_an_error_that_names_the_parameter(name: str) -> None:
    with pytest.raises(Fault) as raised:
        catalogue()[0].resolve(name)
    assert raised.value.param == "model"
    if raised.value.kind == "model_not_found":
        assert "/v1/models" in raised.value.message


def test_the_nearest_names_are_told() -> None:
    with pytest.raises(Fault, match="'gpt-4o-mini'"):
        catalogue()[0].resolve("gtp-4o-mini")
    with pytest.raises(Fault, match="'org/Big-Llama'"):
        catalogue()[0].resolve("org/bigllama")


@given(st.text(max_size=600))
def test_any_name_is_found_or_refused(name: str) -> None:
    try:
        assert catalogue()[0].resolve(name)
    except Fault as fault:
        assert fault.kind in ("model_not_found", "provider_not_configured")
        assert len(fault.message) < 1200


def test_the_listing_names_everything_once() -> None:
    assert list(catalogue()[0].listing()) == [
        ("gpt", "openai"),
        ("kept", "house"),
        ("llama", "house"),
        ("org/Big-Llama", "house"),
        ("gpt-4o", "house"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "bedrock"),
        ("gpt-4o-mini", "openai"),
    ]


def test_every_name_that_is_listed_resolves() -> None:
    known, _ = catalogue()
    for card in known.cards():
        assert known.resolve(card.id)
        assert known.card(card.id) == card


def test_a_card_tells_prices_as_texts() -> None:
    known, _ = catalogue()
    card = msgspec.to_builtins(known.card("gpt-4o-mini"))
    assert card["pricing"] == {
        "prompt": "0.000000000001",
        "completion": "0.000000000002",
        "tiers": ({"prompt": "0.000000000003", "completion": "0.000000000004", "above_tokens": 9},),
    }
    assert (card["context_length"], card["providers"], card["created"]) == (128_000, ("openai",), 99)
    assert card["architecture"] == {"input_modalities": ("text", "image"), "output_modalities": ("text",)}
    assert known.card("org/Big-Llama").created == 7
    assert set(known.card("gpt-4o").providers) == {"openai", "house"}


def test_the_end_of_a_model_is_told() -> None:
    made, discovery = catalogue()
    discovery.learn("house", [Found("llama", ends_on="2027-01-31")])
    assert (made.card("llama").deprecated, made.card("llama").expiration_date) == (True, "2027-01-31")
    assert (made.card("openai/gpt-4-old").deprecated, made.card("gpt-4o").deprecated) == (True, False)
    assert made.resolve("gpt")[1].ends_on == "2027-01-31"


def test_what_an_upstream_says_later_counts() -> None:
    known, discovery = catalogue()
    with pytest.raises(Fault):
        known.resolve("phi")
    discovery.learn("other", [Found("phi", price=Price(3, 4), abilities={"tools": True, "images": False})])
    (phi,) = known.resolve("phi")
    assert (phi.provider, phi.price, phi.capabilities.tools, phi.capabilities.images) == ("other", Price(3, 4), True, False)
    assert "phi" in [card.id for card in known.cards()]


def test_prices_follow_the_time_of_day() -> None:
    clock = Clock()
    night = Listed("m", ("m",), None, (Rate(Price(10, 10)), Rate(Price(5, 5), daily=(0, 3600))))
    offers = Offers(registry.load({}, KEYS), {"openai": PriceList((night,))}, Discovery({}), clock)
    known = Catalogue({}, {}, offers)
    assert known.resolve("openai/m")[0].price == Price(5, 5)
    assert known.resolve("openai/m") is known.resolve("openai/m")
    clock.now = 3600.0
    assert known.resolve("openai/m")[0].price == Price(10, 10)
