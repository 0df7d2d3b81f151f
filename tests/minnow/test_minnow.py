"""The whole of it, as a newcomer has it: `shoal serve` with the real minnow, and OpenAI's own SDK as the caller."""

import contextlib
import json
import math
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest
from pydantic import BaseModel

from installation import Installation, wait_for
from shoal.mini.catalogue import CHAT, EMBEDDING, prepare

WEIGHTS = Path(__file__).parents[2] / "build" / "weights-home"  # fetched and converted once, kept between runs
QUESTION = "What is the capital of France?"
STORY = "Write a very long story about a fox who travels the world and whom she meets."


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for model in (CHAT, EMBEDDING):
        prepare(WEIGHTS, model, lambda stage, done, total: None)
    home = tmp_path_factory.mktemp("home")
    (home / "weights").symlink_to(WEIGHTS / "weights")
    running = Installation(home, "", mini=True).start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def client(installation: Installation) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{installation.port}/openai/v1", api_key=installation.key, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str, **more: object) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model="minnow", messages=[{"role": "user", "content": text}], **more)  # type: ignore[call-overload,no-any-return]


def test_the_line_of_the_readme_is_answered(installation: Installation) -> None:
    body = '{"model": "minnow", "max_tokens": 200, "messages": [{"content": "What is the capital of France?", "role": "user"}]}'
    url = f"http://127.0.0.1:{installation.port}/openai/v1/chat/completions"
    headers = ["-H", f"Authorization: Bearer {installation.key}", "-H", "Content-Type: application/json"]
    done = subprocess.run(["curl", "-sS", "-i", url, *headers, "--data", body], capture_output=True, text=True, check=True, timeout=60)
    head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
    answer = json.loads(text)
    assert head.startswith("HTTP/1.1 200 ")
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["cost"] > 0 and answer["shoal"]["provider"] == "minnow"
    assert f"x-request-id: {answer['shoal']['id']}" in head


def test_whole_and_streamed_say_the_same(client: openai.OpenAI) -> None:
    whole = ask(client, QUESTION, temperature=0, max_tokens=24)
    stream = client.chat.completions.create(
        model="minnow",
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].model_extra is not None and chunks[-1].model_extra["shoal"]["model"] == "minnow"


async def test_the_asynchronous_client(installation: Installation) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{installation.port}/v1", api_key=installation.key) as client:
        answer = await client.chat.completions.create(model="minnow", messages=[{"role": "user", "content": QUESTION}], max_tokens=16)
    assert answer.choices[0].message.content


class City(BaseModel):
    """What a parsed answer must be."""

    name: str
    population: int
    is_capital: bool


def test_parse_gives_a_valid_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="minnow", messages=[{"role": "user", "content": "Describe Paris."}], response_format=City, max_tokens=300
    )
    assert isinstance(answer.choices[0].message.parsed, City)


def test_a_required_tool_is_called_with_valid_arguments(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": parameters}}
    answer = ask(client, "What is the weather in Oslo?", tools=[tool], tool_choice="required", max_tokens=300)
    calls = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls" and calls
    for call in calls:
        arguments = json.loads(call.function.arguments)  # type: ignore[union-attr]
        assert set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")


def test_a_seed_repeats_a_text_and_stops_do_not_leak(client: openai.OpenAI) -> None:
    one, two = (ask(client, "Tell me a joke.", seed=7, temperature=1.0, max_tokens=40).choices[0].message.content for _ in range(2))
    assert one == two
    cut = ask(client, "Count: one, two, three, four, five.", temperature=0, stop=["three", "four"], max_tokens=60)
    assert "three" not in (cut.choices[0].message.content or "") and "four" not in (cut.choices[0].message.content or "")


def test_n_and_logprobs(client: openai.OpenAI) -> None:
    answer = ask(client, QUESTION, n=3, logprobs=True, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs is not None and choice.logprobs.content
        assert all(token.logprob <= 0 for token in choice.logprobs.content)


def test_what_the_minnow_cannot_do_is_refused_by_name(client: openai.OpenAI) -> None:
    for more, param in (({"top_logprobs": 2, "logprobs": True}, "top_logprobs"), ({"logit_bias": {"1": 5}}, "logit_bias")):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, QUESTION, **more)
        assert refused.value.param == param
    with pytest.raises(openai.BadRequestError) as long:
        ask(client, "word " * 20_000)
    assert long.value.code == "context_length_exceeded"


def test_embeddings_mean_something(client: openai.OpenAI) -> None:
    texts = ["a cat sat on the mat", "a kitten lay on the rug", "quarterly revenue fell by 3%"]
    cat, kitten, revenue = (row.embedding for row in client.embeddings.create(model="minnow-embed", input=texts).data)
    assert math.isclose(sum(x * x for x in cat), 1.0, rel_tol=1e-3)
    assert dot(cat, kitten) > dot(cat, revenue) + 0.2
    short = client.embeddings.create(model="minnow-embed", input=texts[0], dimensions=64, encoding_format="float").data[0].embedding
    assert len(short) == 64
    many = client.embeddings.create(model="minnow-embed", input=["x"] * 2048)
    assert len(many.data) == 2048


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def find_mini(installation: Installation) -> psutil.Process | None:
    for child in psutil.Process(installation.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "shoal.mini.serve" in child.cmdline():
                return child
    return None


def test_killing_the_mini_in_mid_answer_ends_the_stream_with_one_error_and_it_comes_back(
    installation: Installation, client: openai.OpenAI
) -> None:
    mini = find_mini(installation)
    assert mini is not None
    stream = client.chat.completions.create(
        model="minnow", messages=[{"role": "user", "content": STORY}], stream=True, max_tokens=2000, temperature=1.0
    )
    chunks = iter(stream)
    for _ in range(5):
        next(chunks)
    os.kill(mini.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError) as broken:
        list(chunks)
    assert broken.value.code == "upstream_connection_lost"
    with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}/healthz", timeout=5) as health:
        assert health.status == 200  # the gateway never blinks

    def answered() -> bool:
        try:
            return bool(ask(client, QUESTION, max_tokens=4).choices)
        except openai.APIStatusError as error:
            assert error.status_code in (502, 503), error
            return False

    wait_for(answered, "an answer of the restarted mini")
    again = find_mini(installation)
    assert again is not None and again.pid != mini.pid


def test_the_mini_goes_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to(WEIGHTS / "weights")
    running = Installation(tmp_path, "", mini=True).start()
    mini = find_mini(running)
    assert mini is not None
    os.kill(running.process.pid, signal.SIGKILL)
    mini.wait(timeout=5)
    running.wait()


def test_an_answer_that_is_gone_on_with_is_the_one_that_was_not_interrupted(client: openai.OpenAI) -> None:
    whole = ask(client, STORY, temperature=0, max_tokens=40).choices[0].message.content
    assert whole is not None
    words = whole.split(" ")
    beginning = " ".join(words[:12])
    rest = client.chat.completions.create(
        model="minnow",
        messages=[{"role": "user", "content": STORY}, {"role": "assistant", "content": beginning}],
        temperature=0,
        max_tokens=40,
        extra_body={"continue_final_message": True, "add_generation_prompt": False},
    )
    assert (beginning + (rest.choices[0].message.content or "")).startswith(whole)
