"""Every provider's row, one suite for all: readable, honest about where it comes from, and reachable on the loopback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.net.target import parse_target
from shoal.providers import registry
from shoal.providers.abilities import matches, read_families, traits_of
from shoal.providers.credentials import header_of
from shoal.providers.options import ProviderSettings
from shoal.providers.row import BadRow, Row, read_row, read_rows

ROWS = read_rows()
EXPECTED = (
    "openai azure anthropic gemini vertex bedrock mistral cohere groq deepseek xai together fireworks perplexity openrouter cerebras "
    "sambanova nvidia deepinfra novita moonshot zai minimax dashscope huggingface cloudflare nebius ai21 ollama vllm lmstudio llamacpp "
    "minnow vertex-anthropic"
)
NEVER_DROPPED = {
    "tools",
    "tool_choice",
    "response_format",
    "logit_bias",
    "top_logprobs",
    "logprobs",
    "messages",
    "model",
    "stream",
    "input",
}
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@pytest.fixture(params=sorted(ROWS))
def name(request: pytest.FixtureRequest) -> str:
    """Each provider's name in turn."""
    return str(request.param)


def complete(row: Row) -> dict[str, str]:
    """An environment that has all that a row may ask for."""
    values = [(one, "https://x.example" if value.url else "x1") for value in row.values.values() for one in value.env]
    return dict([*values, *((one, f"key-{one}") for one in row.api_key_env)])


def test_the_providers_are_all_there() -> None:
    assert set(EXPECTED.split()) == set(ROWS)


def test_the_address_is_one(name: str) -> None:
    row = ROWS[name]
    settings = ProviderSettings(values={"socket": "x"}) if row.local else None
    provider = registry.load({name: settings} if settings else {}, complete(row))[name]
    if name != "minnow":
        target = parse_target(provider.base_url)
        assert target.tls is not row.local or name == "ollama"
    assert "{" not in provider.base_url
    assert not provider.base_url.endswith("/")
    for path in provider.paths.values():
        assert set(re.findall(r"\{(\w+)\}", path)) <= {"model"}


def test_placeholders_are_values(name: str) -> None:
    row = ROWS[name]
    texts = [row.base_url, *row.paths.values(), *(value.default or "" for value in row.values.values()), *row.listed_as.values()]
    assert set(re.findall(r"\{(\w+)\}", " ".join(texts))) - {"model"} <= set(row.values)


def test_the_key_has_a_documented_name(name: str) -> None:
    row = ROWS[name]
    assert row.api_key_env or row.auth == "none"
    assert all(VARIABLE.fullmatch(one) for one in [*row.api_key_env, *(one for value in row.values.values() for one in value.env)])


def test_without_its_key_it_is_known_but_not_reachable(name: str) -> None:
    provider = registry.load({}, {})[name]
    assert provider.missing
    assert not provider.keys
    fault = provider.fault()
    assert (fault.status, fault.param) == (400, "model")
    assert any(
        one in fault.message for one in [*ROWS[name].api_key_env, *(v for x in ROWS[name].values.values() for v in x.env), "configuration"]
    )


def test_with_its_key_it_is_reachable(name: str) -> None:
    row = ROWS[name]
    if row.local:
        return
    provider = registry.load({}, complete(row))[name]
    assert provider.missing is None
    (key,) = provider.keys
    assert key == f"key-{row.api_key_env[0]}"
    assert provider.auth == (row.auth_with_key or row.auth)
    header = header_of(provider.auth, key)
    assert header is not None
    assert header[1].endswith(key)
    assert key not in repr(provider)


def test_it_works_on_the_loopback_without_a_key(name: str) -> None:
    provider = registry.load({name: ProviderSettings(base_url="http://127.0.0.1:9001/v1")}, {})[name]
    assert (provider.missing, provider.base_url, provider.dialect) == (None, "http://127.0.0.1:9001/v1", ROWS[name].dialect)
    assert provider.auth == "none"


def test_nothing_is_dropped_that_must_not_be(name: str) -> None:
    quirks = ROWS[name].quirks
    named_by_its_path = {"model"} if "{model}" in ROWS[name].paths.get("chat", "") else set()
    assert not (NEVER_DROPPED - named_by_its_path) & {*quirks.drop, *quirks.rename}
    assert not {*quirks.drop} & {*quirks.rename, *quirks.rename.values(), *quirks.default}
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", header) for header in quirks.header)


def test_headers_are_written_as_they_are_compared(name: str) -> None:
    limits = ROWS[name].rate_limits
    told = [getattr(limits, field) for field in limits.__struct_fields__ if field != "reset"]
    assert all(re.fullmatch(r"[a-z0-9-]+", one) for one in told if one is not None)


def test_terms_are_told_with_their_source(name: str) -> None:
    row = ROWS[name]
    assert row.terms or name == "minnow" or (row.collects_data is None and row.zero_retention is None)


def test_it_has_a_chat_and_knows_how_to_be_asked_for_models(name: str) -> None:
    row = ROWS[name]
    assert "chat" in row.endpoints
    assert row.discover == ("models" in row.endpoints)
    assert set(row.paths) <= set(row.endpoints)


def test_what_a_provider_lacks_no_model_of_it_has(name: str) -> None:
    row = ROWS[name]
    for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "llama-3.3-70b", "unheard-of"):
        traits = traits_of(model, row)
        assert all(getattr(traits.capabilities, ability) is False for ability in row.lacks)


def test_the_prices_exist() -> None:
    from genai_prices import data_snapshot

    known = {one.id for one in data_snapshot.get_snapshot().providers}
    assert {row.prices for row in ROWS.values() if row.prices} <= known


def test_every_families_source_is_told() -> None:
    text = (Path(registry.__file__).parent / "families.toml").read_text("utf-8")
    assert len(read_families()) > 40
    assert len(re.findall(r"https://", text)) >= 10


GOOD = ['title = "t"', 'docs = "https://d"', 'dialect = "openai_chat"', 'base_url = "https://api.example.com/v1"']


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        (["title = 1"], 1, "title: Expected 'str', got 'int'"),
        ([*GOOD, 'colour = "red"'], 5, "there is no such key: 'colour'"),
        ([*GOOD, "[quirks]", 'split = ["a"]'], 6, "there is no such key: 'split'"),
        ([*GOOD, "[quirks]", "rename = { a = 1 }"], 6, "quirks.rename"),
        ([*GOOD[:2], 'dialect = "esperanto"', GOOD[3]], 3, "esperanto"),
        ([GOOD[0], 'docs = "from memory"', *GOOD[2:]], 2, "docs"),
        ([*GOOD, 'auth = "basic"'], 5, "auth"),
        ([*GOOD, 'endpoints = ["chat", "poems"]'], 5, "poems"),
        ([*GOOD, 'lacks = ["patience"]'], 5, "lacks"),
        ([*GOOD, "[paths]", 'chat = "v1/chat"'], 6, "paths"),
        ([*GOOD, "[paths]", 'rerank = "/rerank"'], 6, "paths.rerank: is none of the row's endpoints"),
        ([*GOOD, "[paths]", 'chat = "/{team}/chat"'], 6, "{team} is none of the row's values"),
        ([*GOOD, "[values]", "team = { ENV = [] }"], 6, "ENV"),
        ([*GOOD, 'endpoints = ["chat"]'], 5, "'models' is missing"),
        ([*GOOD, "[quirks]", 'drop = ["user"]', 'rename = { user = "who" }'], 6, "'user' is renamed or added, too"),
        ([*GOOD, "[rate_limits]", 'reset = "soon"'], 6, "rate_limits.reset"),
        ([*GOOD, "[prefill]", "models = []"], 6, "prefill.models"),
        *(
            ([*GOOD[:3], f'base_url = "{url}"'], 4, "base_url")
            for url in (
                "",
                "api.example.com/v1",
                "http://api.example.com/v1",
                "https://",
                "ftp://api.example.com",
                "https://user:secret@api.example.com",
                "https://api.example.com/v1?version=2",
                "https://api.example.com/a b",
                "https://api.example.com/{team}",
                "{team}/v1",
                "unix:/run/x.sock",
            )
        ),
    ],
)
def test_a_bad_row_says_where_and_what_is_wrong(lines: list[str], line: int, what: str) -> None:
    with pytest.raises(BadRow) as raised:
        read_row("\n".join(lines), "x")
    assert str(raised.value).startswith(f"x.toml:{line}: "), raised.value
    assert what in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("lines", "what"), [(["= 1"], "line 1"), ([*GOOD, "[quirks"], "end of document"), (GOOD[1:], "title")])
def test_what_is_no_row_at_all_is_named(lines: list[str], what: str) -> None:
    with pytest.raises(BadRow, match=rf"^x\.toml.*{what}"):
        read_row("\n".join(lines), "x")


def test_a_good_row_is_one() -> None:
    assert read_row("\n".join(GOOD), "x").base_url == "https://api.example.com/v1"
    here = read_row("\n".join([*GOOD[:3], 'base_url = "http://127.0.0.1:8000/v1"', "local = true"]), "x")
    assert here.local


def test_reading_rows_loads_nothing_heavy() -> None:
    code = "import sys; from shoal.providers.registry import load; load({}, {}); print(*({'pydantic', 'genai_prices'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(
    "model", ["gpt-4", "gpt-5", "gpt-5-mini", "gpt-4o", "gpt-audio", "gpt-4.1", "o3", "o1-mini", "chatgpt-4o-latest", "codex-mini-latest"]
)
def test_models_of_openai_are_shown_as_its_own(model: str) -> None:
    """Or else whoever asks for one by name is sent to somebody else who has it."""
    assert matches(model, ROWS["openai"].listed)
