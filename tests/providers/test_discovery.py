"""What upstreams say they serve, in every shape that they say it in."""

import msgspec
import pytest

from shoal.core.errors import Fault
from shoal.core.money import Price
from shoal.providers.discovery import Discovery, Found, read_models

OPENROUTER = {
    "id": "org/model",
    "created": 5,
    "context_length": 1000,
    "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125", "image": "0"},
    "top_provider": {"max_completion_tokens": 50},
    "supported_parameters": ["tools", "reasoning"],
    "architecture": {"input_modalities": ["text", "image"]},
}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"data": [{"id": "a", "created": 1, "object": "model"}]}, [Found("a", 1)]),
        ({"data": [{"id": "a", "max_model_len": 4096}]}, [Found("a", context_tokens=4096)]),  # vLLM
        (
            {"models": [{"name": "models/gemini-x", "inputTokenLimit": 10, "outputTokenLimit": 5}]},
            [Found("gemini-x", context_tokens=10, max_output_tokens=5)],
        ),
        ({"models": [{"name": "command", "context_length": 7.0}]}, [Found("command")]),  # Cohere
        ([{"id": "t", "pricing": {"input": 0.2, "output": 0.2}}], [Found("t")]),  # Together
        ({"data": [{"id": "x", "pricing": {"prompt": "-1", "completion": "-1"}}]}, [Found("x")]),
        ({"data": [{"id": "x", "pricing": {"prompt": "?", "completion": "NaN"}}]}, [Found("x")]),
        ({"data": [{"id": ""}, "no", {"id": 3}, {"id": "ok", "context_length": -1}]}, [Found("ok")]),
    ],
)
def test_shapes(body: object, found: list[Found]) -> None:
    assert read_models(msgspec.json.encode(body)) == found


@pytest.mark.parametrize(
    ("said", "ends_on", "deprecated"),
    [
        ({"expiration_date": "2027-01-31"}, "2027-01-31", False),  # OpenRouter
        ({"deprecation": "2026-12-31T12:00:00Z"}, "2026-12-31", False),  # Mistral
        ({"expiration_date": None, "deprecation": "soon", "is_deprecated": "yes"}, None, False),
        ({"is_deprecated": True}, None, True),  # Cohere
    ],
)
def test_the_end_of_a_model_is_taken(said: dict[str, object], ends_on: str | None, deprecated: bool) -> None:
    assert read_models(msgspec.json.encode({"data": [{"id": "a", **said}]})) == [Found("a", ends_on=ends_on, deprecated=deprecated)]


def test_a_full_description_is_taken() -> None:
    (model,) = read_models(msgspec.json.encode({"data": [OPENROUTER]}))
    assert (model.context_tokens, model.max_output_tokens) == (1000, 50)
    assert model.price == Price(2_500_000, 10_000_000, 1_250_000, 2_500_000)
    assert model.abilities is not None
    assert {name for name, value in model.abilities.items() if value} == {"tools", "reasoning", "images"}


@pytest.mark.parametrize("body", [b"{}", b'"x"', b"3", b"null", b'{"data":{}}', b"[", b'{"models":null}'])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_models(body)


class Scripted:
    """A channel that answers what it is told, and remembers where it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = (status, body)
        self.asked: list[tuple[str, bool]] = []

    async def get(self, path: str, timeout_s: float, *, at_root: bool = False) -> tuple[int, bytes]:
        self.asked.append((path, at_root))
        if self.answer[0] == 0:
            raise Fault("upstream_unreachable", "nobody is there")
        return self.answer


async def test_the_silent_keep_what_was_known() -> None:
    channel = Scripted(200, b'{"data":[{"id":"a"}]}')
    discovery = Discovery({"one": channel}, {"one": "root:/v1/models?n=9"})  # type: ignore[dict-item]
    await discovery.ask("one")
    await discovery.ask("one")
    assert channel.asked[0] == ("/v1/models?n=9", True)
    assert (list(discovery.models["one"]), discovery.revision) == (["a"], 1)
    for answer in ((500, b""), (0, b""), (200, b"nonsense")):
        channel.answer = answer
        await discovery.ask("one")
        assert (list(discovery.models["one"]), discovery.revision) == (["a"], 1)
    channel.answer = (200, b'{"data":[{"id":"b"}]}')
    await discovery.ask("one")
    assert (list(discovery.models["one"]), discovery.revision) == (["b"], 2)
