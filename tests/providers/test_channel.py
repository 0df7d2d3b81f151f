"""A hosted provider's chat request arrives at the path, and with the key header, that are written out here, each header once. The expected
values are not computed from the rows."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import msgspec
import pytest

from shoal.core.http import HttpCall
from shoal.net.upstream import Response
from shoal.providers import registry
from shoal.providers.channel import Channel

V1, BEARER = "/v1/chat/completions", ("authorization", "Bearer secret")
CHATS = {
    "ai21": ("/studio/v1/chat/completions", BEARER),
    "anthropic": ("/v1/messages", ("x-api-key", "secret")),
    "azure": ("/openai/v1/chat/completions", ("api-key", "secret")),
    "cerebras": (V1, BEARER),
    "cohere": ("/v2/chat", BEARER),
    "dashscope": ("/compatible-mode/v1/chat/completions", BEARER),
    "deepinfra": ("/v1/openai/chat/completions", BEARER),
    "deepseek": ("/chat/completions", BEARER),
    "fireworks": ("/inference/v1/chat/completions", BEARER),
    "groq": ("/openai/v1/chat/completions", BEARER),
    "huggingface": (V1, BEARER),
    "minimax": (V1, BEARER),
    "mistral": (V1, BEARER),
    "moonshot": (V1, BEARER),
    "nebius": (V1, BEARER),
    "novita": ("/openai/v1/chat/completions", BEARER),
    "nvidia": (V1, BEARER),
    "openai": (V1, BEARER),
    "openrouter": ("/api/v1/chat/completions", BEARER),
    "perplexity": ("/chat/completions", BEARER),
    "sambanova": (V1, BEARER),
    "together": (V1, BEARER),
    "xai": (V1, BEARER),
    "zai": ("/api/paas/v4/chat/completions", BEARER),
}
OWN = {"anthropic": "/messages", "cohere": "/v2/chat"}


async def head_of(name: str) -> list[str]:
    """The lines of the head that the channel sends."""
    heads: list[bytes] = []
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        done.set()

    row = registry.row_of(name, None)
    environ = {one: "https://x.example" for value in row.values.values() for one in value.env} | dict.fromkeys(row.api_key_env, "secret")
    provider = registry.load({}, environ)[name]
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        there = f"http://127.0.0.1:{port}{urlsplit(provider.base_url).path}"
        channel = Channel(msgspec.structs.replace(provider, base_url=there))
        response: Response = await channel.post("chat", "m", HttpCall(OWN.get(name, "/chat/completions"), b'{"model":"m"}'))
        response.close()
        channel.close()
        await done.wait()
    return heads[0].decode().rstrip().split("\r\n")


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_arrives_where_it_is_documented(name: str) -> None:
    path, (header, value) = CHATS[name]
    line, *fields = asyncio.run(head_of(name))
    assert line == f"POST {path} HTTP/1.1"
    headers = [tuple(field.split(": ", 1)) for field in fields]
    assert (header, value) in headers
    assert max(Counter(one for one, _ in headers).values()) == 1
    assert dict(headers).get("anthropic-version") == ("2023-06-01" if name == "anthropic" else None)
