"""The configuration: what is wrong is said with file, line and key; what is right is taken."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.toml_lines import find_line
from shoal.settings import BadSettings, check, load

HOUSE = '[providers.house]\nbase_url = "http://127.0.0.1:1/v1"\n'
TEXT = '''# the first line
[server]
port = 1.5 # not = [a]

[models."gpt.4"]
deployments = [
  { provider = "a", price = { input = 1, output = 2 } },

  { provider = "b", # } ]
    model = """x
[y]
z = 1
""" }, ]
[[routes.x.steps]]
a = 1979-05-27 07:32:00
[[routes.x.steps]]
b.c = 'q'
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["server"], 2),
        (["server", "port"], 3),
        (["server", "host"], 2),
        (["models", "gpt.4", "deployments", "0", "price", "output"], 7),
        (["models", "gpt.4", "deployments", "1", "provider"], 9),
        (["models", "*", "deployments", "1", "model"], 10),
        (["models", "gpt.4", "deployments", "1", "weight"], 9),
        (["routes", "x", "steps", "1", "b", "c"], 17),
        (["routes", "x", "steps", "0", "a"], 15),
        (["storage", "url"], None),
        ([], None),
    ],
)
def test_every_key_has_its_line(keys: list[str], line: int | None) -> None:
    assert find_line(TEXT, keys) == line


VALUES = ["1", '"a # b = c"', "'[x]'", "[1,\n 2, # ]\n]", "{ a = 1, b = [] }", '"""\nk = 1\n"""', "1.5", "[\n]", "[[1], [{ a = 2 }]]"]


@given(st.lists(st.sampled_from([*VALUES, "[table]", "[[table]]", "# comment", ""]), max_size=12))
def test_the_line_of_a_key_does_not_depend_on_what_is_around(pieces: list[str]) -> None:
    text, table, expected = "", [], {}
    for number, piece in enumerate(pieces):
        line = text.count("\n") + 1
        if piece.startswith(("[table", "[[table")):
            text += piece.replace("table", f"t{number}") + "\n"
            table = [f"t{number}", *(["0"] if piece.startswith("[[") else [])]
        elif piece in VALUES:
            expected[(*table, f"k{number}")] = line
            text += f"k{number} = {piece}\n"
        else:
            text += piece + "\n"
    tomllib.loads(text)
    assert {keys: find_line(text, keys) for keys in expected} == expected


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("[server]\n\nprt = 3", 3, "server.prt: there is no such key"),
        ('[server]\nport = "x"', 2, "server.port"),
        ("[serve]\nport = 1", 1, "serve"),
        (HOUSE + 'colour = "red"', 3, "providers.house.colour"),
        (HOUSE + 'dialect = "esperanto"', 3, "providers.house.dialect"),
        ('[providers.mine]\nlike = "vlm"', 2, "providers.mine.like: there is no provider 'vlm'"),
        ("[providers.mine]\ndiscover = true", 1, "providers.mine.base_url: missing"),
        (HOUSE + 'api_key = "a"\napi_keys = ["b"]', 1, "providers.house: api_key, api_keys and api_key_env exclude each other"),
        (HOUSE + '[models.x]\ndeployments = [\n{ provider = "house" },\n{ provider = "nope" }]', 6, "models.x.deployments[1].provider"),
        (
            HOUSE + '[models.x]\ndeployments = [{ provider = "house", price_like = "a/b", price = { input = 1, output = 1 } }]',
            4,
            "price_like",
        ),
        ("[models.x]\ndeployments = []", 2, "models.x.deployments"),
        ('[models."a b"]\ndeployments = [{ model = "m" }]', 2, 'models."a b".deployments[0]'),
        ('[routes.x]\nmodels = ["a"]', 1, "routes.x.policy"),
        ("[server]\ntls_cert = 'a.pem'", 1, "tls_cert and tls_key belong together"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "shoal.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadSettings) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}:{line}: ")
    assert what in str(raised.value)


def test_what_is_no_toml_or_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot read"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [", "utf-8")
    with pytest.raises(BadSettings, match="not valid TOML"):
        load(tmp_path / "bad.toml")


def test_known_providers_need_no_table() -> None:
    settings = check(tomllib.loads('[models.x]\ndeployments = [{ provider = "openai" }]\n[routes.r]\npolicy = "cheapest"\nkeep = 3'), "x")
    assert settings.models["x"].deployments[0].provider == "openai"
    assert settings.routes == {"r": {"policy": "cheapest", "keep": 3}}
