"""Routes to nobody are told before the start, by file, line and key; what cannot be known then is not."""

from pathlib import Path

import pytest

from shoal.core.identity import OPERATOR
from shoal.mini.card import Card, write_card
from shoal.mini.shelf import publish
from shoal.providers.row import read_rows
from shoal.settings import BadSettings, Settings, load
from shoal.wiring.installation import check, warn

UP = '[providers.up]\nbase_url = "http://127.0.0.1:9/v1"\ndiscover = {}\n'


@pytest.fixture(autouse=True)
def nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider has a key here."""
    for row in read_rows().values():
        for name in (*row.api_key_env, *(variable for value in row.values.values() for variable in value.env)):
            monkeypatch.delenv(name, raising=False)


def told(tmp_path: Path, text: str) -> str | None:
    """What the check says of a configuration."""
    path = tmp_path / "shoal.toml"
    path.write_text(text, "utf-8")
    try:
        check(load(path), path)
    except BadSettings as error:
        return str(error).replace(str(path), "shoal.toml")
    return None


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ('[routes.x]\npolicy = "ordered"\nmodels = ["up/a", "nobody/model"]', 3, "'nobody'"),
        ('[routes.x]\npolicy = "ordered"\nmodels = [\n  "up/a",\n  "nobody/model",\n]', 5, "'nobody'"),
        ('[routes.x]\npolicy = "ordered"\nmodels = ["up/"]', 3, "'up/'"),
        ('[routes.x]\npolicy = "ordered"\nmodels = ["no-such-model"]', 3, "'no-such-model' does not exist"),
        ('[routes.x]\npolicy = "ordered"\nmodels = ["mineral"]', 3, "Did you mean 'mine'?"),
        ('[routes.x]\npolicy = "ordered"\nmodels = ["route/y"]', 3, "a route names models only"),
        ('[routes.x]\npolicy = "order"\nmodels = ["mine"]', 2, "'order' is not a policy"),
        ('[routes.x]\npolicy = "conditional"\nmodels = ["mine"]\n[[routes.x.rules]]\nwhen = {a = "b"}\nmodels = ["mnie"]', 6, "'mnie'"),
        ('[routes.x]\npolicy = "weighted"\nmodels = ["mine"]\n[routes.x.weights]\n"up/b" = 1\nmnie = 9', 6, "'mnie'"),
        (
            '[routes.x]\npolicy = "sticky"\nmodels = ["mine"]\n[routes.x.inner]\npolicy = "weighted"\nweights = {"mine#1" = 1}',
            6,
            "'mine#1'",
        ),
    ],
)
def test_a_route_to_nobody_is_told_by_line(tmp_path: Path, text: str, line: int, named: str) -> None:
    more = '[models.mine]\ndeployments = [{ provider = "up" }]\n' + UP.format("false")
    said = told(tmp_path, f"{text}\n{more}")
    assert said is not None
    assert said.startswith(f"shoal.toml:{line}: routes.x")
    assert named in said


@pytest.mark.parametrize("name", ["mine", "minnow", "minnow-embed", "up/whatever", "openai/whatever", "gpt-5", "claude-sonnet-4-5"])
def test_a_route_to_somebody_is_not(tmp_path: Path, name: str) -> None:
    more = '[models.mine]\ndeployments = [{ provider = "up" }]\n' + UP.format("false")
    assert told(tmp_path, f'[routes.x]\npolicy = "ordered"\nmodels = ["{name}"]\n{more}') is None


def test_a_bare_name_may_be_that_of_a_provider_that_will_be_asked(tmp_path: Path) -> None:
    assert told(tmp_path, f'[routes.x]\npolicy = "ordered"\nmodels = ["llama-of-ours"]\n{UP.format("true")}') is None


def test_weights_are_of_models_providers_and_deployments(tmp_path: Path) -> None:
    weights = '{mine = 1, up = 2, openai = 0, "up/a" = 1, "mine#0" = 3}'
    text = f'[routes.x]\npolicy = "weighted"\nmodels = ["mine", "up/a"]\nweights = {weights}\n[models.mine]\n'
    assert told(tmp_path, text + 'deployments = [{ provider = "up" }]\n' + UP.format("false")) is None


def test_a_provider_that_is_switched_off_is_none(tmp_path: Path) -> None:
    said = told(tmp_path, '[routes.x]\npolicy = "ordered"\nmodels = ["openai/gpt-5"]\n[providers.openai]\nenabled = false\n')
    assert said is not None and "none called 'openai'" in said


def test_students_may_come_later_and_are_told_of(tmp_path: Path) -> None:
    route = '[routes.x]\npolicy = "ordered"\nmodels = ["ft:minnow:acme:support", "minnow/ft:minnow:acme:support:3", "minnow"]'
    text = route + '\n[models."mine"]\ndeployments = [{provider = "minnow", model = "ft:minnow:acme:titles"}]'
    assert told(tmp_path, text) is None
    made = tmp_path / "made"
    made.mkdir()
    write_card(made, Card("x", "head", "head", 256))
    assert publish(tmp_path, made, OPERATOR, "acme", "support") == "ft:minnow:acme:support:1"
    lines = warn(load(tmp_path / "shoal.toml"), tmp_path)
    assert [line.partition(" is not")[0] for line in lines] == [
        "routes.x.models: the student 'ft:minnow:acme:support:3'",
        "models.\"mine\": the student 'ft:minnow:acme:titles'",
    ]
    assert warn(Settings(), tmp_path) == []
