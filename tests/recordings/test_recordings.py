"""Real traffic of providers, played back: the question that reaches the provider is the recorded one, the answer says what was recorded.

SHOAL_RECORDINGS names a directory of recordings; without it there is nothing to play.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cassette
import pytest
import questions
import said
from cassette import Recorded

from caller import Answer, Caller
from installation import Installation
from shoal.core.errors import Fault
from upstream import Line, Received, Upstream, chunked, head, whole

WHERE = os.environ.get("SHOAL_RECORDINGS")
if not WHERE:
    pytest.skip("SHOAL_RECORDINGS names no directory of recordings", allow_module_level=True)
pytest.importorskip("yaml")

RECORDED = [
    one for file in sorted(Path(WHERE).iterdir()) if file.name.endswith((".yaml", ".yml", ".chunks.txt")) for one in cassette.read(file)
]


class Allowed(NamedTuple):
    """A difference between what was recorded and what is asked here: where, and why it means the same or is ours to say."""

    dialect: str
    path: str
    why: str


ALLOWED = [
    Allowed("*", r"/stream(_options(/.*)?)?", "whether to stream is said in every request or by its absence; usage is always asked for"),
    Allowed("*", r"/(store|metadata)", "stored responses and labels are the gateway's own"),
    Allowed(
        "openai_chat",
        r"/(prompt_cache_key|user|seed|random_seed|max_tokens|max_completion_tokens|reasoning_split)",
        "a row's quirk renames, drops or adds it",
    ),
    Allowed("openai_chat", r"/models(/.*)?", "models to fall back to are tried by the gateway itself"),
    Allowed("openai_responses", r"/include(/.*)?", "thought is always asked back in the form that the next turn needs"),
    Allowed("anthropic", r"/tool_choice(/type)?", "`auto` is what is meant where nothing is said"),
    Allowed("anthropic", r"/messages/\d+/content/\d+/title", "OpenAI's files have names"),
    Allowed("gemini", r"/generationConfig/responseModalities", "words are what is meant where nothing is said"),
    Allowed("gemini", r".*/fileData/mimeType", "OpenAI's addresses have no media type"),
    Allowed("gemini", r"/toolConfig/functionCallingConfig/allowedFunctionNames", "all functions are what is meant where none is named"),
    Allowed("bedrock", r"/messages/\d+/content/\d+/document/name", "names are made to fit the rules and to be unique"),
]
"""All that may differ. Nothing else may, but for how JSON and the dialects write the same thing, which `plain` evens out."""

# protobuf's JSON takes either spelling
SAME_NAMES = {
    name: "".join(word.capitalize() if place else word for place, word in enumerate(name.split("_")))
    for name in ("parameters_json_schema", "include_thoughts", "thinking_budget", "thinking_level", "property_ordering")
}

CUTS = {"whole": 0, "seven": 7, "bytes": 1}


@pytest.fixture(scope="module")
def player() -> Iterator[Upstream]:
    """The provider that all rows lead to."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(player: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server whose every provider is the player."""
    names = {one.provider for one in RECORDED}
    more = {
        "bedrock": 'values = { access_key_id = "AKIATEST", secret_access_key = "secret" }\n',
        "azure": 'values = { endpoint = "https://azure.test" }\n',
        "vertex": 'values = { project = "p" }\n',
    }
    tables = "".join(
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{player.port}"\ndiscover = false\n'
        + ('api_key = "k"\n' if name != "bedrock" else "")
        + more.get(name, "")
        for name in sorted(names)
    )
    server = Installation(tmp_path_factory.mktemp("recordings"), f"[server]\ndrain_s = 0.1\n{tables}").start()
    yield server
    server.stop()


def _play(player: Upstream, recorded: Recorded, cut: int) -> list[Received]:
    """Every request gets the recorded answer; the list of those that come."""
    received: list[Received] = []
    kept = ("content-type", "retry-after")
    lines = "".join(f"{name}: {value}\r\n" for name, value in recorded.headers.items() if name in kept and name != "content-type")
    kind, body = recorded.headers.get("content-type", "application/json"), recorded.body

    def script(line: Line, request: Received) -> None:
        received.append(request)
        if recorded.streamed:
            pieces = [body[at : at + cut] for at in range(0, len(body), cut)] if cut else [body]
            line.send(head(recorded.status, lines, kind=kind, framing="transfer-encoding: chunked\r\n") + chunked(pieces))
        else:
            line.send(whole(body, recorded.status, lines, kind))

    player.play_all(script)
    return received


def _ask(gateway: Installation, recorded: Recorded) -> tuple[Answer, str]:
    """The question asked in OpenAI's shape, and the dialect of the answer."""
    endpoint, asked = "/v1/chat/completions", {}
    if recorded.path.endswith(("mbeddings", "mbedContents", "mbedContent", "/embed", ":predict", "/invoke")):
        endpoint, asked = "/v1/embeddings", questions.embedding_of(recorded)
    elif recorded.dialect == "openai_responses":
        endpoint, asked = "/v1/responses", recorded.question or {"model": recorded.model, "input": "hello", "stream": recorded.streamed}
    else:
        try:
            asked = questions.chat_of(recorded)
        except Fault as fault:
            pytest.skip(f"no chat completion asks this: {fault.message}")
    body = dict(asked) | {"model": f"{recorded.provider}/{recorded.model}"}
    with Caller(gateway.port, gateway.key) as caller:
        answer = caller.ask(body, endpoint, {"anthropic-beta": ""})
    return answer, "openai_responses" if endpoint == "/v1/responses" else "openai_chat"


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_the_question(recorded: Recorded, gateway: Installation, player: Upstream) -> None:
    if recorded.question is None:
        pytest.skip("the question was not recorded")
    received = _play(player, recorded, 0)
    answer, _ = _ask(gateway, recorded)
    assert received, answer.body
    path = received[0].line.decode().split(" ")[1].partition("?")[0]
    assert cassette.unquote(recorded.path).endswith(cassette.unquote(path))
    found = list(differences(plain(recorded.question), plain(received[0].json)))
    assert not [one for one in found if not _is_allowed(recorded.dialect, one.split(" ")[0])]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_the_answer(recorded: Recorded, cut: str, gateway: Installation, player: Upstream) -> None:
    if cut != "whole" and not recorded.streamed:
        pytest.skip("not a stream")
    _play(player, recorded, CUTS[cut])
    answer, dialect = _ask(gateway, recorded)
    assert not answer.cut
    if recorded.status >= 400:
        ours = (
            recorded.status in (401, 403) or recorded.status >= 500 or re.search(rb"\w{2}\*{3}\w{2}", recorded.body)
        )  # a key, half hidden
        assert answer.status == (502 if ours else recorded.status)
        if not ours and recorded.status in (400, 404, 413, 422):  # the caller's own mistake, in the provider's words
            assert answer.json["error"]["message"] == _message(recorded)
        return
    streamed = recorded.streamed
    if recorded.broken:
        assert b"event: error" in answer.body or b'"error"' in answer.body
        return
    assert answer.status == 200, answer.body
    if b'"embedding"' in answer.body[:400]:
        assert [len(one["embedding"]) for one in answer.json["data"]] == _vectors(recorded)
        return
    want, got = said.read(recorded.dialect, streamed, recorded.body), said.read(dialect, streamed, answer.body)
    assert got.text == want.text
    assert got.thought == want.thought
    assert got.calls == want.calls
    assert got.finish == want.finish
    assert got.proofs == want.proofs
    assert got.sources == want.sources
    if not streamed or dialect == "openai_responses" or (recorded.question or {}).get("stream_options"):
        assert got.used == want.used


def _message(recorded: Recorded) -> str:
    told = json.loads(recorded.body)
    error = told.get("error", told)
    message = error["message"] if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"))


def _vectors(recorded: Recorded) -> list[int]:
    told = json.loads(recorded.body)
    vectors = told.get("data") or told.get("embeddings") or told.get("predictions") or [told.get("embedding")]
    vectors = vectors["float"] if isinstance(vectors, dict) else vectors
    held = [one.get("embeddings", one) if isinstance(one, dict) else one for one in vectors]
    return [len(one.get("embedding") or one.get("values") if isinstance(one, dict) else one) for one in held]


def _is_allowed(dialect: str, path: str) -> bool:
    return any(one.dialect in ("*", dialect) and re.fullmatch(one.path, path) for one in ALLOWED)


def _same_lifetime(members: dict[str, Any]) -> None:
    """Five minutes are what a breakpoint of the cache lasts where nothing is said."""
    if members.get("ttl") == "5m":
        del members["ttl"]


def _same_schema(members: dict[str, Any]) -> None:
    """Google's own language of schemas: types in capitals, and an order of members that JSON Schema has no word for."""
    if "responseSchema" in members:
        members["responseJsonSchema"] = members.pop("responseSchema")
    members.pop("propertyOrdering", None)
    if isinstance(members.get("type"), str):
        members["type"] = members["type"].lower()
    if isinstance(members.get("thinkingLevel"), str):
        members["thinkingLevel"] = members["thinkingLevel"].upper()


def _same_format(members: dict[str, Any]) -> None:
    """Anthropic's `output_format` has moved into `output_config`."""
    if "output_format" in members:
        members["output_config"] = members.get("output_config", {}) | {"format": members.pop("output_format")}


def _same_result(members: dict[str, Any]) -> None:
    """What a function returned has a name of the caller's choice; that it failed has no word in OpenAI's dialect."""
    response = members.get("functionResponse", {}).get("response")
    if isinstance(response, dict) and len(response) == 1 and response.keys() <= {"output", "result", "error", "return_value"}:
        members["functionResponse"]["response"] = list(response.values())


EVENED_OUT = (_same_lifetime, _same_schema, _same_format, _same_result)


def plain(value: Any) -> Any:
    """What JSON says, without the ways to say it: null and empty are nothing; JSON in a text is its value; one text is a list of one."""
    if isinstance(value, dict):
        members = {SAME_NAMES.get(name, name): plain(one) for name, one in value.items()}
        members = {name: one for name, one in members.items() if one not in (None, "", [], {}, False)}
        for rule in EVENED_OUT:
            rule(members)
        for name in ("content", "system"):
            if isinstance(members.get(name), str):
                members[name] = [{"type": "text", "text": members[name]}]
        return members
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return plain(json.loads(value))
        except ValueError:
            return value
    return value


def differences(want: Any, got: Any, at: str = "") -> Iterator[str]:
    """Each place where two values differ, and how."""
    if isinstance(want, dict) and isinstance(got, dict):
        for name in sorted(want.keys() | got.keys()):
            yield from differences(want.get(name), got.get(name), f"{at}/{name}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for place, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from differences(one, other, f"{at}/{place}")
    elif want != got:
        yield f"{at} recorded {json.dumps(want)[:120]} asked {json.dumps(got)[:120]}"
