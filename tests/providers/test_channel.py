"""One suite for all providers: each endpoint of each row is asked over a real connection, and arrives at the address, with the key, and in
the words that are written out here with where they are documented. Nothing expected is computed from the rows.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from shoal.core.chat import read_request
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.gateway import endpoints, others
from shoal.providers import registry
from shoal.providers.channel import Channel
from shoal.providers.options import ProviderSettings
from shoal.providers.row import read_rows
from shoal.wire import dialects
from shoal.wiring.signing import find_sign

V1 = "/v1"


class Where(msgspec.Struct, frozen=True):
    """One provider as its documentation describes it: base URL, the paths of its endpoints at its host (None: it has no such thing), the
    variable that holds its key, and how that is sent."""

    source: str
    base: str
    chat: str
    key: str
    header: str = "authorization: Bearer secret"
    completions: str | None = None
    embeddings: str | None = None
    rerank: str | None = None
    models: str | None = None
    responses: str | None = None


def like_openai(source: str, base: str, key: str, *more: str) -> Where:
    """A provider that has OpenAI's paths below its base URL."""
    prefix = "/" + base.split("//")[1].partition("/")[2]
    paths = {name: f"{prefix.rstrip('/')}/{name}" for name in more}
    return Where(source, base, f"{prefix.rstrip('/')}/chat/completions", key, **paths)


PROVIDERS: Mapping[str, Where] = {
    "ai21": like_openai("https://github.com/AI21Labs/ai21-python", "https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "anthropic": Where(
        "https://github.com/anthropics/anthropic-sdk-python",
        "https://api.anthropic.com/v1",
        "/v1/messages",
        "ANTHROPIC_API_KEY",
        "x-api-key: secret",
        models="/v1/models?limit=1000",
    ),
    "azure": Where(
        "https://learn.microsoft.com/en-us/azure/foundry/openai/api-version-lifecycle",
        "https://mine.openai.azure.com/openai/v1",
        "/openai/v1/chat/completions",
        "AZURE_OPENAI_API_KEY",
        "api-key: secret",
        completions="/openai/v1/completions",
        embeddings="/openai/v1/embeddings",
        responses="/openai/v1/responses",
    ),
    "bedrock": Where(
        "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        "/model/m/converse",
        "AWS_BEARER_TOKEN_BEDROCK",
        embeddings="/model/amazon.titan-embed-text-v2%3A0/invoke",
        rerank="/model/m/invoke",
    ),
    "cerebras": like_openai(
        "https://github.com/Cerebras/cerebras-cloud-sdk-python",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        "completions",
        "models",
    ),
    "cloudflare": like_openai(
        "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/",
        "https://api.cloudflare.com/client/v4/accounts/mine/ai/v1",
        "CLOUDFLARE_API_TOKEN",
        "embeddings",
        "responses",
    ),
    "cohere": Where(
        "https://github.com/cohere-ai/cohere-python",
        "https://api.cohere.com",
        "/v2/chat",
        "CO_API_KEY",
        embeddings="/v2/embed",
        rerank="/v2/rerank",
        models="/v1/models?page_size=1000",
    ),
    "dashscope": Where(
        "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "/compatible-mode/v1/chat/completions",
        "DASHSCOPE_API_KEY",
        embeddings="/compatible-mode/v1/embeddings",
        rerank="/compatible-api/v1/reranks",
    ),
    "deepinfra": like_openai(
        "https://deepinfra.com/docs/openai_api",
        "https://api.deepinfra.com/v1/openai",
        "DEEPINFRA_API_KEY",
        "completions",
        "embeddings",
        "models",
    ),
    "deepseek": Where(
        "https://api-docs.deepseek.com/quick_start/pricing",
        "https://api.deepseek.com",
        "/chat/completions",
        "DEEPSEEK_API_KEY",
        completions="/beta/completions",
        models="/models",
        responses="/responses",
    ),
    "fireworks": like_openai(
        "https://github.com/fw-ai-external/python-sdk",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        "completions",
        "embeddings",
        "rerank",
        "models",
        "responses",
    ),
    "gemini": Where(
        "https://github.com/googleapis/python-genai",
        "https://generativelanguage.googleapis.com/v1beta",
        "/v1beta/models/m:generateContent",
        "GOOGLE_API_KEY",
        "x-goog-api-key: secret",
        embeddings="/v1beta/models/m:batchEmbedContents",
        models="/v1beta/models?pageSize=1000",
    ),
    "groq": like_openai("https://console.groq.com/docs/openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "models", "responses"),
    "huggingface": like_openai(
        "https://huggingface.co/docs/inference-providers/guides/responses-api",
        "https://router.huggingface.co/v1",
        "HF_TOKEN",
        "models",
        "responses",
    ),
    "llamacpp": like_openai(
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "http://127.0.0.1:8080/v1",
        "LLAMA_API_KEY",
        *("completions", "embeddings", "rerank", "models", "responses"),
    ),
    "lmstudio": like_openai(
        "https://lmstudio.ai/docs/developer/openai-compat",
        "http://127.0.0.1:1234/v1",
        "LM_API_TOKEN",
        *("completions", "embeddings", "models", "responses"),
    ),
    "minimax": like_openai(
        "https://platform.minimax.io/docs/api-reference/text-openai-api", "https://api.minimax.io/v1", "MINIMAX_API_KEY", "models"
    ),
    "minnow": Where(
        "the process beside the gateway, src/shoal/mini/door.py",
        "unix:/mini.sock",
        "/v1/chat/completions",
        "",
        "",
        completions="/v1/completions",
        embeddings="/v1/embeddings",
        models="/v1/models",
    ),
    "mistral": like_openai(
        "https://github.com/mistralai/client-python", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "embeddings", "models"
    ),
    "moonshot": like_openai(
        "https://platform.kimi.ai/docs/api/overview", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "models", "responses"
    ),
    "nebius": like_openai(
        "https://docs.tokenfactory.nebius.com/api-reference/introduction",
        "https://api.tokenfactory.nebius.com/v1",
        "NEBIUS_API_KEY",
        "completions",
        "embeddings",
        "models",
    ),
    "novita": like_openai(
        "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
        "https://api.novita.ai/openai/v1",
        "NOVITA_API_KEY",
        "completions",
        "embeddings",
        "rerank",
        "models",
    ),
    "nvidia": like_openai(
        "https://docs.api.nvidia.com/nim/reference/llm-apis",
        "https://integrate.api.nvidia.com/v1",
        "NVIDIA_API_KEY",
        "completions",
        "embeddings",
        "models",
    ),
    "ollama": like_openai(
        "https://docs.ollama.com/api/openai-compatibility",
        "http://127.0.0.1:11434/v1",
        "OLLAMA_API_KEY",
        *("completions", "embeddings", "models", "responses"),
    ),
    "openai": like_openai(
        "https://github.com/openai/openai-python",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        *("completions", "embeddings", "models", "responses"),
    ),
    "openrouter": like_openai(
        "https://github.com/OpenRouterTeam/python-sdk",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        *("completions", "embeddings", "rerank", "models", "responses"),
    ),
    "perplexity": like_openai("https://github.com/perplexityai/perplexity-py", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "sambanova": like_openai(
        "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        "https://api.sambanova.ai/v1",
        "SAMBANOVA_API_KEY",
        "embeddings",
        "models",
        "responses",
    ),
    "together": like_openai(
        "https://github.com/togethercomputer/together-py",
        "https://api.together.ai/v1",
        "TOGETHER_API_KEY",
        *("completions", "embeddings", "rerank", "models"),
    ),
    "vertex": Where(
        "https://github.com/googleapis/python-genai",
        "https://aiplatform.googleapis.com/v1/projects/mine/locations/global/publishers/google",
        "/v1/projects/mine/locations/global/publishers/google/models/m:generateContent",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
        embeddings="/v1/projects/mine/locations/global/publishers/google/models/m:predict",
    ),
    "vertex-anthropic": Where(
        "https://github.com/anthropics/anthropic-sdk-python",
        "https://aiplatform.googleapis.com/v1/projects/mine/locations/global/publishers/anthropic",
        "/v1/projects/mine/locations/global/publishers/anthropic/models/m:rawPredict",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
    ),
    "vllm": like_openai(
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
        "http://127.0.0.1:8000/v1",
        "VLLM_API_KEY",
        *("completions", "embeddings", "rerank", "models", "responses"),
    ),
    "xai": like_openai(
        "https://docs.x.ai/docs/api-reference", "https://api.x.ai/v1", "XAI_API_KEY", *("completions", "models", "responses")
    ),
    "zai": like_openai("https://github.com/zai-org/z-ai-sdk-python", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
}
VALUES = {"AZURE_RESOURCE_NAME": "mine", "CLOUDFLARE_ACCOUNT_ID": "mine", "GOOGLE_CLOUD_PROJECT": "mine"}
MODELS = {("bedrock", "embeddings"): "amazon.titan-embed-text-v2:0"}
BODIES: Mapping[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "completions": {"prompt": "hi"},
    "embeddings": {"input": "hi"},
    "rerank": {"query": "hi", "documents": ["a", "b"]},
}
KINDS = [(name, kind) for name in PROVIDERS for kind in (*BODIES, "models") if getattr(PROVIDERS[name], kind) is not None]


class Arrived(msgspec.Struct, frozen=True):
    """What came over the connection."""

    line: str
    fields: list[tuple[str, str]]
    body: Any


def provider_of(name: str, environ: Mapping[str, str] | None = None) -> registry.Provider:
    """A provider as an operator has it who sets what its documentation says: its key, and what stands in its address."""
    row = read_rows()[name]
    said = ProviderSettings(values={"socket": "/mini.sock"} if name == "minnow" else None) if row.local else None
    where = {PROVIDERS[name].key: "secret"} if environ is None and PROVIDERS[name].key else dict(environ or {})
    return registry.load({name: said} if said else {}, VALUES | where)[name]


@contextmanager
def elsewhere(provider: registry.Provider) -> Iterator[tuple[registry.Provider, str | None]]:
    """The provider on this machine, and the socket it is at where it has one."""
    with TemporaryDirectory() as folder:
        if provider.base_url.startswith("unix:"):
            yield msgspec.structs.replace(provider, base_url=f"unix:{folder}/s"), f"{folder}/s"
        else:
            yield provider, None


async def ask(provider: registry.Provider, kind: str, calls: list[HttpCall], *, signed: bool = False) -> Arrived:
    """What arrives when the channel sends the first of these calls, or asks for the models."""
    arrived: list[Arrived] = []
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
        size = int(dict(headers).get("content-length", "0"))
        arrived.append(Arrived(line, headers, json.loads(await reader.readexactly(size)) if size else None))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        done.set()

    with ExitStack() as stack:
        provider, socket = stack.enter_context(elsewhere(provider))
        if socket is not None:
            server: asyncio.Server = await asyncio.start_unix_server(answer, socket)
        else:
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            there = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(provider.base_url).path}"
            provider = msgspec.structs.replace(provider, base_url=there)
        async with server:
            channel = Channel(provider, find_sign(provider) if signed else None)
            if kind == "models":
                path = provider.paths.get("models", "/models")
                await channel.get(path.removeprefix("root:"), 5.0, at_root=path.startswith("root:"))
            else:
                response = await channel.post("chat" if kind == "responses" else kind, "m", channel.adapt(calls[0]))
                response.close()
            channel.close()
            await done.wait()
    return arrived[0]


def calls_of(name: str, kind: str, **more: Any) -> list[HttpCall]:
    """What the dialect makes of a small request."""
    model = MODELS.get((name, kind), "m")
    body = json.dumps({"model": model, **BODIES[kind], **more}).encode()
    row = read_rows()[name]
    deployment = Deployment("d", model, name, model, dialect="openai_responses" if kind == "responses" else row.dialect)
    place = endpoints.find(b"/v1/" + {"chat": "chat/completions"}.get(kind, kind).encode(), b"")
    assert place is not None
    request = read_request(body, place.endpoint.decoder)
    if kind in ("chat", "responses"):
        conversation = dialects.CALLERS["openai_responses" if kind == "responses" else "openai_chat"].read(request)
        return [dialects.UPSTREAMS[deployment.dialect].encode(conversation, deployment)]
    return list(others.choose(kind, request, deployment).encode(deployment))


def test_all_of_them_are_here() -> None:
    assert set(PROVIDERS) == set(read_rows())
    assert all(one.source.startswith("https://") for name, one in PROVIDERS.items() if name != "minnow")


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_base_url_and_the_key_are_those_of_the_documentation(name: str) -> None:
    provider, where = provider_of(name), PROVIDERS[name]
    assert provider.base_url == where.base
    assert provider.keys == (("secret",) if where.key else ())
    assert provider.missing is None


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_has_the_endpoints_of_the_documentation(name: str) -> None:
    named = {kind for one, kind in KINDS if one == name}
    assert set(read_rows()[name].endpoints) == named


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_request_arrives_where_it_is_documented(name: str, kind: str) -> None:
    where = PROVIDERS[name]
    arrived = asyncio.run(ask(provider_of(name), kind, [] if kind == "models" else calls_of(name, kind)))
    assert arrived.line == f"{'GET' if kind == 'models' else 'POST'} {getattr(where, kind)} HTTP/1.1"
    assert max(Counter(one for one, _ in arrived.fields).values()) == 1
    sent = [f"{one}: {value}" for one, value in arrived.fields if "secret" in value]
    assert sent == ([where.header] if where.header else [])
    assert dict(arrived.fields).get("anthropic-version") == ("2023-06-01" if name.endswith("anthropic") else None)


def test_a_stream_is_asked_for_where_the_provider_has_streams() -> None:
    arrived = asyncio.run(ask(provider_of("vertex-anthropic"), "chat", calls_of("vertex-anthropic", "chat", stream=True)))
    assert arrived.line.split()[1].endswith("/publishers/anthropic/models/m:streamRawPredict")
    assert arrived.body is not None
    assert (arrived.body["stream"], arrived.body["anthropic_version"], "model" in arrived.body) == (True, "vertex-2023-10-16", False)


SPOKEN = {  # what OpenAI's chats take besides
    "user": "me",
    "seed": 7,
    "n": 1,
    "max_completion_tokens": 9,
    "service_tier": "flex",
    "verbosity": "low",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "frequency_penalty": 0.5,
    "parallel_tool_calls": False,
    "stream_options": {"include_usage": True},
    "stream": True,
}
LIMIT = {"max_completion_tokens": "max_tokens"}
CHANGES: Mapping[str, tuple[set[str], dict[str, str], dict[str, Any]]] = {  # what is left out, under which other name, and what is added
    "ai21": (set(), LIMIT, {}),  # https://github.com/AI21Labs/ai21-python
    "cloudflare": (set(), LIMIT, {}),
    "dashscope": (set(), LIMIT, {}),
    "deepseek": (set(), LIMIT, {}),  # https://api-docs.deepseek.com/api/create-chat-completion
    "groq": ({"messages[].name"}, {}, {}),  # https://console.groq.com/docs/openai
    "lmstudio": (set(), LIMIT, {}),
    "minimax": (set(), {}, {"reasoning_split": True}),  # https://platform.minimax.io/docs/api-reference/text-openai-api
    "mistral": (  # https://github.com/mistralai/client-python, ChatCompletionRequest
        {"user", "service_tier", "verbosity", "safety_identifier", "stream_options"},
        {**LIMIT, "seed": "random_seed"},
        {},
    ),
    "ollama": ({"user", "n"}, LIMIT, {}),  # https://docs.ollama.com/api/openai-compatibility
    "perplexity": (set(), LIMIT, {}),  # https://github.com/perplexityai/perplexity-py
    "together": (set(), LIMIT, {}),  # https://github.com/togethercomputer/together-py
    "vertex-anthropic": ({"model"}, {}, {"anthropic_version": "vertex-2023-10-16"}),
    "zai": (set(), LIMIT, {}),  # https://github.com/zai-org/z-ai-sdk-python
}


async def adapt(name: str, call: HttpCall) -> HttpCall:
    """A call in the words of the provider; a channel belongs to a loop."""
    return Channel(provider_of(name)).adapt(call)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_chat_arrives_in_the_words_of_the_provider(name: str) -> None:
    said = {"model": "m", "messages": [{"role": "user", "content": "hi", "name": "me"}], **SPOKEN}
    call = HttpCall("/chat/completions", json.dumps(said).encode())
    dropped, renamed, added = CHANGES.get(name, (set(), {}, {}))
    adapted = asyncio.run(adapt(name, call))
    expected = {renamed.get(one, one): value for one, value in said.items() if one not in dropped} | added
    if "messages[].name" in dropped:
        expected["messages"] = [{"role": "user", "content": "hi"}]
    assert json.loads(adapted.body) == expected
    assert set(adapted.dropped) == dropped - {"stream_options", "model"}  # the gateway takes the place of one, the path that of the other
    if name not in CHANGES:
        assert adapted is call


BEGUN: Mapping[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {  # what the last message, and the request, get, and another path
    "vertex-anthropic": ({}, {}, None),
    "anthropic": ({}, {}, None),  # https://platform.claude.com/docs/en/build-with-claude/prompt-engineering/prefill-claudes-response
    "bedrock": ({}, {}, None),
    "dashscope": ({"partial": True}, {"enable_thinking": False}, None),  # https://www.alibabacloud.com/help/en/model-studio/partial-mode
    "deepseek": ({"prefix": True}, {}, "/beta/chat/completions"),  # https://api-docs.deepseek.com/guides/chat_prefix_completion
    "groq": ({}, {}, None),  # https://console.groq.com/docs/prefilling
    "llamacpp": ({}, {}, None),  # --prefill-assistant
    "minnow": ({}, {"add_generation_prompt": False, "continue_final_message": True}, None),
    "mistral": ({"prefix": True}, {}, None),  # https://github.com/mistralai/client-python, AssistantMessage
    "moonshot": ({"partial": True}, {}, None),  # https://platform.kimi.ai/docs/guide/use-partial-mode-feature-of-kimi-api
    "openrouter": ({}, {}, None),  # https://openrouter.ai/docs/api-reference/overview#assistant-prefill
    "vllm": ({}, {"add_generation_prompt": False, "continue_final_message": True}, None),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_beginning_is_given_in_the_words_of_the_provider(name: str) -> None:
    assert (read_rows()[name].prefill is not None) == (name in BEGUN)
    if name not in BEGUN or read_rows()[name].dialect != "openai_chat":
        return
    of_message, of_body, path = BEGUN[name]
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Once"}]
    (call,) = calls_of(name, "chat", messages=begun)
    arrived = asyncio.run(ask(provider_of(name), "chat", [msgspec.structs.replace(call, prefill=True)]))
    assert arrived.line == f"POST {path or PROVIDERS[name].chat} HTTP/1.1"
    assert arrived.body["messages"][:-1] == begun[:-1]
    assert arrived.body["messages"][-1] == begun[-1] | of_message
    assert {one: arrived.body.get(one) for one in of_body} == of_body
    assert set(arrived.body) - {"model", "messages", "reasoning_split"} == set(of_body)


def test_a_call_to_bedrock_is_signed_where_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_SESSION_TOKEN": "session", "AWS_REGION": "eu-west-1"}
    provider = provider_of("bedrock", secrets)
    arrived = asyncio.run(ask(provider, "chat", calls_of("bedrock", "chat"), signed=True))
    fields = dict(arrived.fields)
    scope = f"{fields['x-amz-date'][:8]}/eu-west-1/bedrock/aws4_request"
    assert fields["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=")
    assert fields["x-amz-security-token"] == "session"
    assert "hush" not in str(arrived)
    assert provider.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"


def test_a_call_to_vertex_carries_a_token_where_there_is_no_key(tmp_path: Path) -> None:
    asked: list[str] = []

    async def token() -> tuple[str, Arrived]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.append(head)
            said = b'{"access_token":"fresh","expires_in":3600}'
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            file = tmp_path / "account.json"
            account = {"type": "service_account", "client_email": "me@mine", "private_key": PEM, "token_uri": f"http://127.0.0.1:{port}/t"}
            file.write_text(json.dumps(account))
            provider = provider_of("vertex", {"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
            return provider.auth, await ask(provider, "chat", calls_of("vertex", "chat"), signed=True)

    auth, arrived = asyncio.run(token())
    assert auth == "google"
    assert asked[0].startswith("POST /t HTTP/1.1\r\n")
    assert dict(arrived.fields)["authorization"] == "Bearer fresh"


def _pem() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pkcs8 = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()).decode()


PEM = _pem()
