"""Routes of the configuration: what is wrong is said at the start, with its key; every example of the guide is right."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.routing.balanced import Balanced
from shoal.routing.cascade import Cascade
from shoal.routing.conditional import Comparison, Conditional
from shoal.routing.fastest import Fastest
from shoal.routing.hedged import Hedged
from shoal.routing.judgement import Judgement
from shoal.routing.ordered import Ordered
from shoal.routing.preferences import Preferences
from shoal.routing.routes import POLICIES, BadRoute, build_route, build_routes, find_route
from shoal.routing.sticky import Sticky
from shoal.routing.strategy import Strategy
from shoal.routing.weighted import Weighted

GUIDE = (Path(__file__).parents[2] / "docs/guide/routing.md").read_text("utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


def test_a_route_is_a_policy_and_its_models() -> None:
    route = build_route("r", {"policy": "ordered", "retries": 1, "models": ["b", "a"]})
    assert (route.name, route.models, route.policy) == ("r", ("b", "a"), Ordered(retries=1))
    assert build_route("r", {"models": ["a"]}).policy == Balanced()


def test_policies_stand_in_policies() -> None:
    table = {
        "policy": "hedged",
        "after_s": 0.5,
        "models": ["a"],
        "inner": {"policy": "sticky", "inner": {"policy": "fastest", "retries": 0}},
    }
    assert build_route("r", table).policy == Hedged(Sticky(Fastest(retries=0)), after_s=0.5)


def test_the_branches_of_a_condition_bring_their_own_models() -> None:
    inner = {"policy": "conditional", "models": ["c"], "rules": [{"when": {"x": {"$lt": 3}}, "models": ["d", "a"]}]}
    table = {"policy": "conditional", "models": ["a"], "rules": [{"when": {"plan": "gold"}, "models": ["b"]}], "otherwise": inner}
    route = build_route("r", table)
    assert route.models == ("a", "c", "d", "b")
    assert isinstance(route.policy, Conditional)
    assert isinstance(route.policy.otherwise, Conditional)
    assert route.policy.otherwise.rules[0].when == {"x": Comparison(lt=3.0)}
    inherited = build_route(
        "r", {"policy": "conditional", "models": ["a"], "rules": [{"when": {"plan": "gold"}, "then": {"policy": "ordered"}}]}
    )
    assert inherited.models == ("a",)


@pytest.mark.parametrize(
    ("table", "message", "keys"),
    [
        ({"policy": "quickest", "models": ["a"]}, "'quickest' is not a policy; there are: balanced, cascade", ["policy"]),
        ({"policy": 7, "models": ["a"]}, "7 is not a policy", ["policy"]),
        ({"policy": "ordered", "retires": 1, "models": ["a"]}, "routes.r.retires: is not a field", ["retires"]),
        ({"policy": "ordered", "retries": -1, "models": ["a"]}, "routes.r.retries: Expected `int` >= 0".replace("`", "'"), ["retries"]),
        ({"policy": "ordered", "models": "a"}, "routes.r.models: must be a list", ["models"]),
        ({"policy": "ordered", "models": []}, "routes.r.models: is missing", ["models"]),
        ({"policy": "ordered"}, "routes.r.models: is missing", ["models"]),
        ({"policy": "ordered", "models": ["a", "b", "a"]}, "lists 'a' twice", ["models"]),
        ({"policy": "ordered", "models": ["a", ""]}, "empty name", ["models"]),
        ({"policy": "ordered", "models": ["a", "route/x"]}, "routes.r.models[1]: 'route/x' is a route", ["models", "1"]),
        ({"policy": "hedged", "inner": {"policy": "nope"}, "models": ["a"]}, "routes.r.inner.policy: 'nope' is not", ["inner", "policy"]),
        ({"policy": "hedged", "inner": {"retries": 1}, "models": ["a"]}, "routes.r.inner.policy: policy is missing", ["inner", "policy"]),
        ({"policy": "hedged", "inner": "ordered", "models": ["a"]}, "routes.r.inner: a policy is a table", ["inner"]),
        (
            {"policy": "hedged", "inner": {"policy": "sticky", "inner": {"policy": "ordered", "x": 1}}, "models": ["a"]},
            "routes.r.inner.inner.x: is not a field",
            ["inner", "inner", "x"],
        ),
        ({"policy": "hedged", "inner": {"policy": "cascade"}, "models": ["a", "b"]}, "routes.r: a cascade holds", []),
        ({"policy": "cascade", "models": ["a"]}, "at least two models", ["models"]),
        ({"policy": "cascade", "models": ["a", "b"], "judge": {"min_chars": 9, "max_chars": 1}}, "routes.r.judge: max_chars", ["judge"]),
        ({"policy": "weighted", "weights": {"a": -1}, "models": ["a"]}, "routes.r.weights", ["weights", "*"]),
        ({"policy": "weighted", "weights": {"a": 0}, "models": ["a"]}, "all weights are 0", []),
        (
            {"policy": "conditional", "models": ["a"], "rules": [{"when": {"x": 1}}, {"when": {"x": {"$like": "y"}}}]},
            "$like: is not a field",
            ["rules", "1", "when", "*", "$like"],
        ),
        (
            {"policy": "conditional", "models": ["a"], "rules": [{"when": {"x": 1}, "then": {"policy": "hedged", "after_s": 0}}]},
            "routes.r.rules[0].then.after_s: Expected",
            ["rules", "0", "then", "after_s"],
        ),
        ("ordered", "routes.r: a route is a table", []),
    ],
)
def test_mistakes_are_named_by_their_key(table: Any, message: str, keys: list[str]) -> None:
    with pytest.raises(BadRoute) as caught:
        build_route("r", table)
    assert message in str(caught.value)
    assert caught.value.keys == ("routes", "r", *keys)


@pytest.mark.parametrize("name", ["", "a/b", "fast:nitro"])
def test_names_that_nobody_could_ask_for_are_refused(name: str) -> None:
    with pytest.raises(BadRoute, match="a route's name"):
        build_routes({name: {"models": ["a"]}})


def test_a_route_is_found_by_either_name() -> None:
    routes = build_routes({"chat": {"models": ["a"]}})
    assert find_route(routes, "chat") is find_route(routes, "route/chat") is routes["chat"]
    assert find_route(routes, "a") is find_route(routes, "route/route/chat") is None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("]")[0].lstrip("["))
def test_the_examples_of_the_guide_are_valid(example: str) -> None:
    routes = build_routes(tomllib.loads(example)["routes"])
    assert all(isinstance(route.policy, Strategy) and route.models for route in routes.values())


def test_the_guide_shows_every_policy_and_every_wish() -> None:
    shown = {tomllib.loads(example)["routes"].popitem()[1]["policy"] for example in EXAMPLES}
    assert shown == set(POLICIES)
    for struct in (Preferences, Judgement, *POLICIES.values()):
        for field in msgspec.structs.fields(struct):
            assert re.search(rf"\b{field.name}\b", GUIDE), f"{struct.__name__}.{field.name}"


def test_the_guides_examples_mean_what_they_say() -> None:
    routes = {name: route for example in EXAMPLES for name, route in build_routes(tomllib.loads(example)["routes"]).items()}
    assert routes["canary"].policy == Weighted(weights={"gpt-5": 95, "gpt-5-mini": 5, "minnow": 0})
    assert routes["frugal"].policy == Cascade(judge=Judgement(min_chars=20, min_mean_logprob=-1.0))
    assert routes["by-plan"].models == ("minnow", "mistral-large-latest", "gpt-5", "claude-sonnet-4-5")
