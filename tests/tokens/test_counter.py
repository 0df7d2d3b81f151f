"""Counting: OpenAI's vocabularies and its cookbook's examples, a local model's own tokenizer and template, labels, limits."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from shoal.core.conversation import Conversation, File, Format, Image, Message, Reasoning, Refusal, Role, Text, Tool, ToolCall, ToolResult
from shoal.core.models import Deployment
from shoal.tokens import counter as counting
from shoal.tokens.count import Count
from shoal.tokens.counter import Counter
from shoal.tokens.encodings import count_texts, encoding_of
from shoal.tokens.window import fits, worth_counting


def at(model: str, provider: str = "openai", **more: Any) -> Deployment:
    """A deployment."""
    return Deployment(f"{provider}/{model}", model, provider, model, **more)


def ask(*messages: Message, **more: Any) -> Conversation:
    """A conversation."""
    return Conversation(model="m", messages=messages, **more)


def said(role: Role, text: str, name: str | None = None) -> Message:
    """A message of one text."""
    return Message(role, (Text(text),), name)


# https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb: what OpenAI's API counted
WEATHER = ask(
    said("system", "You are a helpful assistant that can answer to questions about the weather."),
    said("user", "What's the weather like in San Francisco?"),
    tools=(
        Tool(
            "get_current_weather",
            "Get the current weather in a given location",
            msgspec.Raw(
                json.dumps(
                    {
                        "type": "object",
                        "properties": {
                            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                            "unit": {
                                "type": "string",
                                "description": "The unit of temperature to return",
                                "enum": ["celsius", "fahrenheit"],
                            },
                        },
                        "required": ["location"],
                    }
                ).encode()
            ),
        ),
    ),
)


@pytest.mark.parametrize(("encoding", "size", "sha256"), [
    ("o200k_base", 199_998, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    ("cl100k_base", 100_256, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
])  # fmt: skip
def test_a_vocabulary_is_the_one_that_openai_publishes(encoding: str, size: int, sha256: str) -> None:
    """The hashes are those in tiktoken_ext/openai_public.py, of files whose lines are a token in base64 and its rank."""
    import toktok

    vocabulary = toktok._encoding(encoding)
    lines = (b"%b %d\n" % (base64.b64encode(vocabulary.decode_single_token_bytes(rank)), rank) for rank in range(size))
    assert hashlib.sha256(b"".join(lines)).hexdigest() == sha256


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [("", 0, 0), ("tiktoken is great!", 6, 6), ("hello world", 2, 2), ("antidisestablishmentarianism", 6, 6), ("2 + 2 = 4", 7, 7),
     ("お誕生日おめでとう", 8, 9), ("<|endoftext|>", 7, 7)],
)  # fmt: skip
def test_texts_as_the_cookbook_counts_them(text: str, o200k: int, cl100k: int) -> None:
    assert count_texts([text], "o200k_base") == [o200k]
    assert count_texts([text], "cl100k_base") == [cl100k]


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-2024-08-06", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("ft:gpt-4o-mini:org::id", "o200k_base"),
        ("gpt-5.1", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini-2025-04-16", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("openai/gpt-oss-120b", "o200k_harmony"),
        ("gpt-oss:20b", "o200k_harmony"),
        ("o3x", None),
        ("claude-sonnet-4-5", None),
        ("", None),
    ],
)
def test_encodings_by_name(model: str, encoding: str | None) -> None:
    assert encoding_of(model) == encoding


def test_half_of_a_surrogate_pair_is_counted() -> None:
    assert len({*count_texts(["a\ud800b", "a?b"], "o200k_base")}) == 1


@pytest.mark.parametrize(("model", "tokens"), [("gpt-3.5-turbo", 105), ("gpt-4", 105), ("gpt-4o", 101), ("gpt-4o-mini", 101)])
def test_tools_as_the_cookbook_counts_them(model: str, tokens: int) -> None:
    counted = Counter().count_conversation(WEATHER, at(model))
    assert (counted.tokens, counted.exact) == (tokens, False)


COOKBOOK = ask(
    said("system", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
    said("system", "New synergies will help drive top-line growth.", "example_user"),
    said("system", "Things working well together will increase revenue.", "example_assistant"),
    said(
        "system",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        "example_user",
    ),
    said("system", "Let's talk later when we're less busy about how to do better.", "example_assistant"),
    said(
        "user",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
)


@pytest.mark.parametrize(("model", "tokens"), [("gpt-3.5-turbo", 129), ("gpt-4-0613", 129), ("gpt-4o", 124), ("gpt-4o-mini", 124)])
def test_messages_as_the_cookbook_counts_them(model: str, tokens: int) -> None:
    counted = Counter().count_conversation(COOKBOOK, at(model))
    assert (counted.tokens, counted.exact) == (tokens, True)


def test_only_what_is_known_is_called_exact() -> None:
    count = Counter().count_conversation
    assert count(COOKBOOK, at("gpt-4o", "azure")).exact
    assert not count(COOKBOOK, at("gpt-5")).exact  # its framing is not published
    assert not count(COOKBOOK, at("gpt-4o", "somebody")).exact  # a name alone proves nothing
    assert not count(ask(said("user", "hi"), format=Format()), at("gpt-4o")).exact
    assert not count(ask(Message("user", (Image(url="https://example.com/x.png"),))), at("gpt-4o")).exact
    assert Counter().count_text("hi", "gpt-4o", "openai") == Count(1, True, "o200k_base")
    assert Counter().count_text("hi", "gpt-4o", "somebody") == Count(1, False, "o200k_base")
    assert Counter().count_text("hi there", "claude-opus-4-5", "anthropic") == Count(3, False, "estimate by characters")


EVERY_PART = ask(
    Message("assistant", (Text("a"), Refusal("b"), Reasoning("c"), ToolCall("1", "d", '{"e":1}'))),
    Message("tool", (ToolResult("1", (Text("f"), Image(url="x"), File(text="plain words")), name="d"),)),
)


@pytest.mark.parametrize(("model", "provider"), [("gpt-4o", "openai"), ("claude-opus-4-5", "anthropic"), ("mixtral", "mistral")])
def test_every_part_counts(model: str, provider: str) -> None:
    counter, whole = Counter(), EVERY_PART
    total = counter.count_conversation(whole, at(model, provider)).tokens
    for place, message in enumerate(whole.messages):
        for number in range(len(message.parts)):
            fewer = Message(message.role, message.parts[:number] + message.parts[number + 1 :])
            rest = (*whole.messages[:place], fewer, *whole.messages[place + 1 :])
            assert counter.count_conversation(ask(*rest), at(model, provider)).tokens < total
    assert counter.count_conversation(msgspec.structs.replace(whole, tools=WEATHER.tools), at(model, provider)).tokens > total + 30


def test_a_broken_schema_is_survived() -> None:
    for schema in (b"[]", b'{"properties":[]}', b'{"properties":{"a":1,"b":{"enum":[1,null],"items":{"type":"string"},"description":2}}}'):
        tools = (Tool("f", None, msgspec.Raw(schema)), Tool("g"))
        assert Counter().count_conversation(ask(said("user", "hi"), tools=tools), at("gpt-4o")).tokens > 30


def test_a_huge_text_is_estimated() -> None:
    text = "word " * (counting.MOST_CHARACTERS // 5 + 1)
    counted = Counter().count_conversation(ask(said("user", text)), at("gpt-4o"))
    assert counted.method == "estimate by characters"
    assert counted.tokens > 200_000
    assert Counter().count_text(text, "gpt-4o", "openai").method == "estimate by characters"


TEMPLATE = "{% for message in messages %}<s>{{ message['role'] }} {{ message['content'] }} {% endfor %}<s>assistant"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A directory of weights with one model, whose tokens are words."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>"])
    model = tmp_path / "words"
    model.mkdir()
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "model.json").write_text(json.dumps({"name": "words", "chat_template": TEMPLATE, "bos_token": "<s>"}), "utf-8")
    return tmp_path


def test_a_local_model_is_counted_by_its_own_tokenizer_and_template(weights: Path) -> None:
    counter, words = Counter(weights), at("words", "minnow", local=True)
    assert counter.count_text("one two three", "words", "minnow") == Count(3, True, "words's tokenizer")
    counted = counter.count_conversation(ask(said("developer", "be kind"), said("user", "one two three")), words)
    assert counted == Count(1 + 1 + 2 + 1 + 1 + 3 + 1 + 1, True, "words's tokenizer and template")


def test_what_a_local_model_is_told_besides_is_estimated(weights: Path) -> None:
    counter, words = Counter(weights), at("words", "minnow", local=True)
    plain = counter.count_conversation(ask(said("user", "one two")), words)
    for more in (ask(said("user", "one two"), tools=WEATHER.tools), ask(said("user", "one <s>")), EVERY_PART):
        counted = counter.count_conversation(more, words)
        assert not counted.exact
        assert counted.tokens >= plain.tokens
    (weights / "words" / "model.json").write_text('{"chat_template": "{% for"}', "utf-8")
    assert not Counter(weights).count_conversation(ask(said("user", "one two")), words).exact


@pytest.mark.parametrize("model", ["absent", "", ".", "..", "../words", "gpt-4o"])
def test_a_local_model_without_a_tokenizer_is_estimated(weights: Path, model: str) -> None:
    for counter in (Counter(weights), Counter()):
        counted = counter.count_conversation(ask(said("user", "one two")), at(model, "minnow", local=True))
        assert (counted.exact, counted.method) == (False, "estimate by characters")


def exact(tokens: int) -> Count:
    """A counted number."""
    return Count(tokens, True, "x")


@pytest.mark.parametrize(
    ("count", "window", "max_tokens", "refused"),
    [
        (exact(99), 100, None, False),
        (exact(100), 100, None, True),
        (exact(90), 100, 10, False),
        (exact(90), 100, 11, True),
        (exact(10**9), None, 1, False),
        (Count(200, False, "x"), 100, 50, False),
        (Count(201, False, "x"), 100, None, True),
    ],
)
def test_a_window(count: Count, window: int | None, max_tokens: int | None, refused: bool) -> None:
    fault = fits(count, at("m", context_tokens=window), max_tokens)
    assert (fault is not None) == refused
    if fault is not None:
        assert (fault.kind, fault.status, fault.param) == ("context_length", 400, "messages")
        assert str(window) in fault.message
        assert str(count.tokens) in fault.message
        assert ("estimated" in fault.message) != count.exact


def test_only_what_may_be_too_long_is_counted() -> None:
    assert not worth_counting(10**9, at("m"), 10)
    assert not worth_counting(90, at("m", context_tokens=100), 10)
    assert worth_counting(91, at("m", context_tokens=100), 10)
    assert worth_counting(101, at("m", context_tokens=100), None)
