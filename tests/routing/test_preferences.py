"""What a request may ask of routing: read strictly, and kept."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_world import World, asked, deployment, failing, providers

from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.ports import Policy
from shoal.routing.balanced import Balanced
from shoal.routing.cheapest import Cheapest
from shoal.routing.fastest import Fastest
from shoal.routing.names import Suffix
from shoal.routing.ordered import Ordered
from shoal.routing.preferences import (
    MOST_MODELS,
    NO_PREFERENCES,
    MaxPrice,
    Percentiles,
    Preferences,
    Sort,
    choose_policy,
    narrow,
    read_models,
    read_preferences,
)
from shoal.routing.throughput import Throughput

CANDIDATES = [
    deployment("azure", 3.0, region="eastus", collects_data=False, zero_retention=True),
    deployment("openai", 2.0, quantization="fp8", collects_data=False, zero_retention=False),
    deployment("thrifty", 1.0, quantization="int4", collects_data=True),
    deployment("minnow", None, local=True),
]
NAMES = ["azure", "openai", "thrifty", "minnow"]
DEFAULT = Balanced()


def read(value: object) -> Preferences:
    """A `provider` object as a request holds it."""
    return read_preferences(msgspec.json.encode(value), NAMES)


def left(suffix: Suffix | None = None, **wishes: object) -> list[str]:
    """Which providers a wish leaves."""
    return providers(narrow(CANDIDATES, read(wishes), suffix)[0])


def first(policy: Policy, candidates: list[Deployment], world: World | None = None) -> list[str]:
    """Whom a policy asks, when nobody of them can be asked twice."""
    return asked(policy.plan(candidates, world or World()), failing("upstream_auth"))


def test_no_wish_is_no_preference() -> None:
    assert read_preferences(None) is read_preferences(b"null") is NO_PREFERENCES
    assert read_preferences(b"{}") == NO_PREFERENCES
    assert narrow(CANDIDATES, NO_PREFERENCES) == (CANDIDATES, ())
    assert choose_policy(NO_PREFERENCES, None, DEFAULT) is DEFAULT


def test_every_field_is_read() -> None:
    everything = {
        "order": ["azure"],
        "allow_fallbacks": True,
        "require_parameters": True,
        "data_collection": "deny",
        "zdr": True,
        "only": ["azure", "openai"],
        "ignore": ["thrifty"],
        "quantizations": ["fp8", "unknown"],
        "sort": {"by": "latency", "partition": "none"},
        "preferred_min_throughput": {"p50": 20, "p90": None},
        "preferred_max_latency": 2,
        "max_price": {"prompt": 1, "completion": "2.5", "request": 0, "image": 1},
    }
    found = read(everything)
    assert (found.sort, found.preferred_min_throughput) == (Sort("latency", "none"), Percentiles(p50=20.0))
    assert found.max_price == MaxPrice(1.0, "2.5", 0.0, 1.0)
    assert read(dict.fromkeys(everything)) == NO_PREFERENCES


@pytest.mark.parametrize(
    ("value", "kind", "param"),
    [
        ({"colour": "red"}, "unsupported_parameter", "provider.colour"),
        ({"enforce_distillable_text": True}, "unsupported_parameter", "provider.enforce_distillable_text"),
        ({"sort": {"by": "price", "partitions": "none"}}, "unsupported_parameter", "provider.sort.partitions"),
        ({"max_price": {"promt": 1}}, "unsupported_parameter", "provider.max_price.promt"),
        ({"order": "azure"}, "invalid_type", "provider.order"),
        ([], "invalid_type", "provider"),
        ({"sort": "beauty"}, "invalid_value", "provider.sort"),
        ({"data_collection": "maybe"}, "invalid_value", "provider.data_collection"),
        ({"quantizations": ["fp7"]}, "invalid_value", "provider.quantizations[0]"),
        ({"only": []}, "invalid_value", "provider.only"),
        ({"preferred_max_latency": -1}, "invalid_value", "provider.preferred_max_latency"),
        ({"max_price": {"prompt": "cheap"}}, "invalid_value", "provider.max_price.prompt"),
        ({"max_price": {"image": "NaN"}}, "invalid_value", "provider.max_price.image"),
        ({"order": ["azur"]}, "invalid_value", "provider.order"),
        ({"only": ["openai", "nobody/fp8"]}, "invalid_value", "provider.only"),
        ({"ignore": ["nobody"]}, "invalid_value", "provider.ignore"),
        ({"only": ["Azure"], "ignore": ["azure"]}, "invalid_value", "provider.only"),
        ({"order": ["openai", "azure"], "ignore": ["azure"]}, "invalid_value", "provider.order"),
        ({"order": ["azure"], "only": ["openai"]}, "invalid_value", "provider.order"),
    ],
)
def test_what_cannot_be_granted_is_refused_by_name(value: object, kind: str, param: str) -> None:
    with pytest.raises(Fault) as caught:
        read(value)
    assert (caught.value.kind, caught.value.param) == (kind, param)
    assert param in caught.value.message
    assert caught.value.status == 400


def test_an_unknown_provider_is_answered_with_those_there_are() -> None:
    with pytest.raises(Fault, match=r"'azur'.*azure, minnow, openai, thrifty"):
        read({"order": ["azur", "openai"]})
    assert read_preferences(b'{"order": ["azur"]}').order == ("azur",)  # who there is, is not always known


@given(st.binary() | st.text().map(str.encode) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_anything_else_is_a_fault(raw: bytes) -> None:
    for reading in (lambda: read_preferences(raw), lambda: read_models(raw, "m")):
        try:
            reading()
        except Fault as fault:
            assert fault.status == 400


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"only": ["AZURE", "minnow"]}, ["azure", "minnow"]),
        ({"only": ["azure/eastus", "openai/fp8"]}, ["azure", "openai"]),
        ({"ignore": ["azure"]}, ["openai", "thrifty", "minnow"]),
        ({"data_collection": "deny"}, ["azure", "openai", "minnow"]),
        ({"data_collection": "allow"}, NAMES),
        ({"zdr": True}, ["azure", "minnow"]),
        ({"quantizations": ["fp8", "unknown"]}, ["azure", "openai", "minnow"]),
        ({"max_price": {"prompt": 2}}, ["openai", "thrifty"]),
        ({"max_price": {"completion": "1.5", "image": 9}}, ["thrifty"]),
        ({"max_price": {"request": 0}}, NAMES),
        ({"order": ["openai"], "allow_fallbacks": False}, ["openai"]),
        ({"order": ["openai"]}, NAMES),
        ({"only": ["azure", "openai"], "max_price": {"prompt": 2}}, ["openai"]),
    ],
)
def test_wishes_narrow_the_choice(wishes: dict[str, object], expected: list[str]) -> None:
    assert left(**wishes) == expected


def test_free_is_what_costs_nothing_for_certain() -> None:
    with pytest.raises(Fault, match="'model' excludes azure, minnow, openai, thrifty"):
        left("free")
    assert providers(narrow([*CANDIDATES, deployment("gift", 0.0)], NO_PREFERENCES, "free")[0]) == ["gift"]


def test_when_nobody_is_left_the_fault_says_which_rule_excluded_whom() -> None:
    with pytest.raises(Fault) as caught:
        left(zdr=True, max_price={"prompt": 2})
    assert caught.value.param == "provider.zdr"
    assert "'provider.zdr' excludes openai, thrifty; 'provider.max_price.prompt' excludes azure, minnow" in caught.value.message
    with pytest.raises(Fault, match=r"'provider\.allow_fallbacks' excludes azure, openai"):
        narrow(CANDIDATES[:2], read({"order": ["thrifty"], "allow_fallbacks": False}))


@pytest.mark.parametrize(
    ("wishes", "suffix", "policy"),
    [
        ({"sort": "price"}, None, Cheapest()),
        ({"sort": "throughput"}, None, Throughput()),
        ({"sort": "latency"}, None, Fastest()),
        ({"sort": {"by": "price"}}, None, Cheapest()),
        ({}, "floor", Cheapest()),
        ({}, "nitro", Throughput()),
        ({}, "free", DEFAULT),
        ({"sort": "price"}, "floor", Cheapest()),
    ],
)
def test_sorting_replaces_the_default(wishes: dict[str, object], suffix: Suffix | None, policy: Policy) -> None:
    assert choose_policy(read(wishes), suffix, DEFAULT) == policy


def test_a_suffix_and_a_sort_may_contradict_each_other() -> None:
    with pytest.raises(Fault, match="':nitro' sorts by throughput"):
        choose_policy(read({"sort": "price"}), "nitro", DEFAULT)


def test_an_order_comes_first_and_the_rest_may_follow() -> None:
    policy = choose_policy(read({"order": ["minnow", "openai"]}), None, Ordered())
    assert first(policy, CANDIDATES) == ["minnow", "openai", "azure", "thrifty"]


def test_without_fallbacks_only_the_first_choice_is_asked() -> None:
    policy = choose_policy(read({"allow_fallbacks": False, "sort": "price"}), None, DEFAULT)
    assert first(policy, CANDIDATES) == ["thrifty"]
    wishes = read({"allow_fallbacks": False, "order": ["minnow", "openai"]})
    assert first(choose_policy(wishes, None, DEFAULT), list(narrow(CANDIDATES, wishes)[0])) == ["minnow", "openai"]


def test_models_are_tried_one_after_the_other_whatever_the_error() -> None:
    models = [deployment("x", 5.0, model="a"), deployment("y", 1.0, model="b"), deployment("z", 3.0, model="a")]
    policy = choose_policy(read({"sort": "price"}), None, DEFAULT, several_models=True)
    assert first(policy, models) == ["z", "x", "y"]
    assert asked(policy.plan(models, World()), failing("upstream_rejected")) == ["z", "y"]
    together = choose_policy(read({"sort": {"by": "price", "partition": "none"}}), None, DEFAULT, several_models=True)
    assert first(together, models) == ["y", "z", "x"]


def test_a_slow_model_may_lose_its_place_to_a_fallback() -> None:
    models = [deployment("x", model="a"), deployment("y", model="b")]
    world = World({"x/a": Health(tokens_per_s=10.0, first_token_s=1.0, first_token_p95_s=9.0)})
    for wish in ({"preferred_min_throughput": 50}, {"preferred_max_latency": 0.5}, {"preferred_max_latency": {"p50": 2, "p99": 8}}):
        assert first(choose_policy(read(wish), None, DEFAULT, several_models=True), models, world) == ["y", "x"]
    for wish in ({"preferred_min_throughput": {"p75": 5}}, {"preferred_max_latency": {"p90": 10}}):
        assert first(choose_policy(read(wish), None, DEFAULT, several_models=True), models, world) == ["x", "y"]


def test_models_are_listed_once_and_not_without_end() -> None:
    assert read_models(None, "m") == ("m",)
    assert read_models(b'["a", "m", "a"]', "m") == ("m", "a")
    for raw in (b"[]", b"7", b'[""]', b'["a"', msgspec.json.encode([str(number) for number in range(MOST_MODELS)])):
        with pytest.raises(Fault) as caught:
            read_models(raw, "m")
        assert caught.value.param == "models"
