"""How long a key rests: what retry-after says, else when what is used up comes back, in every form that providers write it in."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.http import HttpCall
from shoal.providers.channel import Channel
from shoal.providers.options import ProviderSettings
from shoal.providers.registry import load
from shoal.providers.rest import rest_s
from shoal.providers.row import RateLimits, read_rows

NOW_S = 1_795_000_000.0  # 2026-11-18T11:06:40Z


def said(provider: str, **headers: str) -> float | None:
    """What is made of the headers of an answer of a provider."""
    return rest_s(
        {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}, read_rows()[provider].rate_limits, NOW_S
    )


@pytest.mark.parametrize(
    ("provider", "headers", "seconds"),
    [
        ("openai", {"retry_after": "3", "x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1h"}, 3),
        ("openai", {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m12s"}, 372),
        ("openai", {"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "12ms"}, 0.012),
        ("openai", {"x_ratelimit_remaining_tokens": "5", "x_ratelimit_reset_tokens": "12ms"}, None),  # it was something else
        ("groq", {"x_ratelimit_reset_requests": "1d2h3m4.5s"}, 93_784.5),
        ("groq", {"x_ratelimit_reset_requests": "7.66s", "x_ratelimit_reset_tokens": "2m59.56s"}, 179.56),
        ("groq", {"x_ratelimit_reset_requests": "soon"}, None),
        ("groq", {"x_ratelimit_reset_requests": ""}, None),
        ("azure", {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "9"}, 9),
        ("anthropic", {"anthropic_ratelimit_requests_remaining": "0", "anthropic_ratelimit_requests_reset": "2026-11-18T11:07:00Z"}, 20),
        ("anthropic", {"anthropic_ratelimit_requests_remaining": "0", "anthropic_ratelimit_requests_reset": "2026-11-18T11:00:00Z"}, 0),
        ("anthropic", {"anthropic_ratelimit_requests_reset": "yesterday"}, None),
        ("sambanova", {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1795000030"}, 30),
        ("openrouter", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1795000030500"}, 30.5),
        ("openrouter", {"x_ratelimit_reset": "nan"}, None),
        ("huggingface", {"x_ratelimit_reset": "3"}, None),  # its row names no header
        ("openai", {}, None),
    ],
)
def test_what_is_made_of_headers(provider: str, headers: dict[str, str], seconds: float | None) -> None:
    assert said(provider, **headers) == (None if seconds is None else pytest.approx(seconds))


@given(st.sampled_from(["duration", "seconds", "timestamp", "unix_s", "unix_ms"]), st.text(max_size=30))
def test_no_text_breaks_it(form: Any, text: str) -> None:
    limits = RateLimits(requests_reset="r", reset=form)
    found = rest_s({b"r": text.encode("utf-8", "replace")}, limits, NOW_S)
    assert found is None or found >= 0


@given(st.integers(0, 40), st.integers(0, 59), st.integers(0, 59))
def test_durations_are_sums_of_their_parts(hours: int, minutes: int, seconds: int) -> None:
    limits = RateLimits(tokens_reset="t")
    assert rest_s({b"t": f"{hours}h{minutes}m{seconds}s".encode()}, limits, NOW_S) == hours * 3600 + minutes * 60 + seconds


def test_a_rest_that_the_body_tells_is_taken() -> None:
    told = '{"error": {"status": "RESOURCE_EXHAUSTED", "code": 429, "message": "", "details": [{"@type": '
    told += '"type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}]}}'
    answers, keys, now = [f"429 Busy\r\ncontent-length: {len(told)}\r\n\r\n{told}"], list[str](), [0.0]
    served: list[asyncio.Task[Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            served.append(task)
        while not reader.at_eof():
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                break
            await reader.readexactly(2)
            keys.append(head.lower().partition("x-goog-api-key: ")[2][:3])
            said = answers.pop() if answers else "200 OK\r\ncontent-length: 2\r\n\r\n{}"
            writer.write(f"HTTP/1.1 {said}".encode())
        writer.close()
        await writer.wait_closed()

    async def ask() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = {"gemini": ProviderSettings(base_url=f"http://127.0.0.1:{port}", api_keys=["one", "two"])}
        channel = Channel(load(settings, {})["gemini"], clock=lambda: now[0])
        async with server:
            for now[0] in (0.0, 15.0, 31.0, 31.0):  # without the body it would be back after 10 s
                response = await channel.post("chat", "m", HttpCall("/models/m:generateContent", b"{}"))
                assert (response.status, await response.read()) == (200, b"{}")
                response.close()
            channel.close()
            await asyncio.gather(*served)

    asyncio.run(ask())
    assert keys[:3] == ["one", "two", "two"]
    assert "one" in keys[3:]
