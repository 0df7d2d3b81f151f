"""Rows, configuration, environment and store together: who can be reached, where, and with which keys."""

import pytest

from shoal.providers.options import PrefillSettings, ProviderSettings, QuirkSettings
from shoal.providers.registry import Provider, load, row_of
from shoal.providers.row import BadRow, Quirks


def one(name: str, settings: ProviderSettings | None = None, environ: dict[str, str] | None = None, **stored: tuple[str, ...]) -> Provider:
    """A provider as it comes out."""
    return load({name: settings} if settings else {}, environ or {}, stored)[name]


@pytest.mark.parametrize(
    ("settings", "environ", "keys"),
    [
        (None, {"OPENAI_API_KEY": "env"}, ("env",)),
        (None, {"OPENAI_API_KEY": ""}, ("stored",)),
        (None, {}, ("stored",)),
        (ProviderSettings(api_key="mine"), {"OPENAI_API_KEY": "env"}, ("mine",)),
        (ProviderSettings(api_keys=["a", "b"]), {}, ("a", "b")),
        (ProviderSettings(api_key_env="MINE"), {"MINE": "m", "OPENAI_API_KEY": "env"}, ("m",)),
        (ProviderSettings(api_key_env=["A", "B", "C"]), {"A": "1", "C": "3"}, ("1", "3")),
    ],
)
def test_keys(settings: ProviderSettings | None, environ: dict[str, str], keys: tuple[str, ...]) -> None:
    provider = one("openai", settings, environ, openai=("stored",))
    assert (provider.keys, provider.missing, provider.auth) == (keys, None, "bearer")


def test_the_first_of_a_rows_names_counts() -> None:
    assert one("gemini", environ={"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"}).keys == ("b",)


def test_a_named_variable_that_is_not_set_is_missing_on_the_loopback_too() -> None:
    provider = one("mine", ProviderSettings(base_url="http://127.0.0.1:1/v1", api_key_env=["A", "B"]))
    assert provider.missing == "set A or B in the environment and restart"


def test_a_name_of_ones_own_needs_an_address_and_no_key() -> None:
    provider = one("mine", ProviderSettings(base_url="https://x.example/v1/", dialect="anthropic", auth="x-api-key"))
    assert (provider.missing, provider.base_url, provider.dialect, provider.auth) == (None, "https://x.example/v1", "anthropic", "none")
    with pytest.raises(BadRow, match=r"providers\.mine\.base_url"):
        one("mine", ProviderSettings())
    with pytest.raises(BadRow, match=r"providers\.mine\.like.*'vlm'"):
        one("mine", ProviderSettings(like="vlm"))


def test_a_name_may_be_like_a_row() -> None:
    mine = one("mine", ProviderSettings(like="vllm", base_url="http://10.0.0.1:8000/v1"))
    assert mine.prefill is not None
    assert mine.prefill.body == {"add_generation_prompt": False, "continue_final_message": True}
    assert mine.missing is None
    assert one("mine", ProviderSettings(like="groq")).missing == "set GROQ_API_KEY in the environment and restart"


def test_overrides_are_merged_into_the_row() -> None:
    said = ProviderSettings(
        quirks=QuirkSettings(drop=["metadata"], rename={"a": "b"}, header={"x": "1"}),
        prefill=PrefillSettings(models=["mistral-small*"]),
        paths={"chat": "/elsewhere"},
        lacks=["files"],
        discover=False,
        collects_data=True,
    )
    row, own = row_of("mistral", said), row_of("mistral", None)
    assert row.quirks == Quirks({**own.quirks.rename, "a": "b"}, (*own.quirks.drop, "metadata"), {}, {"x": "1"})
    assert row.prefill is not None
    assert (row.prefill.message, row.prefill.models) == ({"prefix": True}, ("mistral-small*",))
    assert (row.paths["chat"], row.discover, row.collects_data) == ("/elsewhere", False, True)
    assert set(own.lacks) | {"files"} == set(row.lacks)
    assert row_of("mistral", None) == own


def test_values_fill_addresses() -> None:
    key = {"AZURE_OPENAI_API_KEY": "k"}
    assert one("azure", environ=key | {"AZURE_RESOURCE_NAME": "r"}).base_url == "https://r.openai.azure.com/openai/v1"
    endpoint = {"AZURE_OPENAI_ENDPOINT": "https://e.example/"}
    assert one("azure", environ=key | endpoint).base_url == "https://e.example/openai/v1"
    said = ProviderSettings(values={"resource": "mine"})
    assert one("azure", said, key).base_url == "https://mine.openai.azure.com/openai/v1"
    assert "AZURE_OPENAI_ENDPOINT or AZURE_RESOURCE_NAME" in str(one("azure", environ=key).missing)
    paths = ProviderSettings(base_url="http://127.0.0.1:1", paths={"chat": "/{version}/{model}"}, values={"version": "v9"})
    assert one("mine", paths).paths == {"chat": "/v9/{model}"}


def test_an_address_may_depend_on_the_region() -> None:
    def host(**settings: str) -> str:
        found = one("vertex", ProviderSettings(values={"project": "p", **settings}))
        return found.base_url.partition("/v1/")[0] + "|" + found.base_url.partition("/locations/")[2]

    assert host() == "https://aiplatform.googleapis.com|global/publishers/google"
    assert host(region="us-central1") == "https://us-central1-aiplatform.googleapis.com|us-central1/publishers/google"
    assert host(region="eu") == "https://aiplatform.eu.rep.googleapis.com|eu/publishers/google"
    assert host(region="global", host="proxy.test") == "https://proxy.test|global/publishers/google"


@pytest.mark.parametrize(
    ("region", "geography"), [("us-west-2", "us"), ("eu-north-1", "eu"), ("ap-south-1", "apac"), ("us-gov-west-1", "us-gov")]
)
def test_inference_profiles_are_those_of_the_region(region: str, geography: str) -> None:
    assert one("bedrock", environ={"AWS_REGION": region}).values["geography"] == geography
    said = ProviderSettings(values={"geography": "global"})
    assert one("bedrock", said, {"AWS_REGION": region}).values["geography"] == "global"


def test_signatures() -> None:
    aws = {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "eu-west-1"}
    signed = one("bedrock", environ=aws)
    assert (signed.missing, signed.auth, signed.keys) == (None, "aws", ())
    assert signed.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert (signed.values["access_key_id"], signed.values["secret_access_key"]) == ("i", "hush")
    assert "AWS_SECRET_ACCESS_KEY" in str(one("bedrock", environ={"AWS_ACCESS_KEY_ID": "i"}).missing)
    assert one("bedrock", environ={"AWS_BEARER_TOKEN_BEDROCK": "b"}).auth == "bearer"
    assert "hush" not in repr(signed)


def test_local_servers_are_asked_only_when_someone_says_so() -> None:
    assert all(load({}, {})[name].missing for name in ("ollama", "vllm", "lmstudio", "llamacpp", "minnow"))
    assert one("ollama", ProviderSettings()).base_url == "http://127.0.0.1:11434/v1"
    assert one("ollama", environ={"OLLAMA_HOST": "0.0.0.0:1234"}).base_url == "http://127.0.0.1:1234/v1"
    assert one("vllm", ProviderSettings(), {"VLLM_API_KEY": "k"}).keys == ("k",)
    assert not load({}, {"VLLM_API_KEY": "k"})["vllm"].discover


def test_a_provider_may_be_switched_off() -> None:
    assert "openai" not in load({"openai": ProviderSettings(enabled=False)}, {"OPENAI_API_KEY": "k"})
