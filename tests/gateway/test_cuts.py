"""Streams of every dialect, cut at every event and between: before the first word another upstream gives a whole answer, after it the
caller reads one typed error, or all of the text where somebody can go on with it. Never neither, never both.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from caller import Caller
from faulty import (
    CALLERS,
    DIALECTS,
    FIRST,
    SECOND,
    Faulty,
    Heard,
    ask,
    ask_all,
    config,
    cut_places,
    cuts,
    finished,
    fresh,
    goes_on,
    heir,
    places,
    says,
    sends,
    stalls,
    unfinished,
)
from installation import Installation
from polyglot import WHOLE, Call, Said
from upstream import DONE, Line, Received, delta, whole

THINKS = Said("It is four indeed.", thought="Two and two.")
CALLS = Said(calls=(Call("call_1", "Paris"), Call("call_2", "Oslo")), finish="tool_calls")
ARGUMENTS = "".join(call.arguments for call in CALLS.calls).replace(" ", "")
TOOLS: dict[str, Any] = {
    "openai_chat": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
    "openai_responses": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
    "anthropic": [{"name": "get_weather", "input_schema": {"type": "object"}}],
    "gemini": [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "object"}}]}],
}
LOST = "upstream_connection_lost"


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(faulty: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("cuts"), config(faulty.port)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def check(heard: Heard, case: Any) -> None:
    """What no cut may do to a caller."""
    assert (heard.status, heard.cut) == (200, False), case
    assert heard.ended != bool(heard.errors), f"neither a whole answer nor an error, or both: {case}"
    assert len(heard.errors) <= 1, case


def bare(text: str) -> str:
    """JSON without the blanks, which some dialects lose."""
    return text.replace(" ", "")


class Cut(NamedTuple):
    """A stream that is cut, after so many of its bytes."""

    said: Said
    place: int
    shown: int
    whole: int
    data: bytes


def cuts_of(dialect: str, *scenes: Said, step: int = 10**6) -> list[Cut]:
    """All of the cuts of these answers."""
    found = []
    for said in scenes:
        body, shown, whole = places(dialect, said)
        found += [Cut(said, place, shown, whole, body[:place]) for place in cut_places(dialect, said, step)]
    return found


@pytest.mark.parametrize("ending", [unfinished, finished], ids=["lost", "in order"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cut_stream_is_answered_by_another_or_ends_in_one_error(server: Installation, faulty: Faulty, dialect: str, ending: Any) -> None:
    cases = cuts_of(dialect, FIRST, THINKS, CALLS, step=97)
    asked = [
        (
            faulty.plays(fresh(dialect), cuts(ending(dialect, one.data))),
            faulty.plays(fresh("openai_chat"), says("openai_chat", SECOND)),
        )
        for one in cases
    ]
    for one, heard in zip(cases, ask_all(server, asked, stream=True, tools=TOOLS["openai_chat"]), strict=True):
        check(heard, one)
        if one.place < one.shown:
            assert (heard.text, heard.attempts) == (SECOND.text, [LOST] * 3 + [None]), one
        elif one.place >= one.whole:
            assert (heard.text, heard.attempts) == (one.said.text, [None]), one
            assert bare(heard.calls) == (ARGUMENTS if one.said.calls else ""), one
        else:
            assert one.said.text.startswith(heard.text), one
            assert ARGUMENTS.startswith(bare(heard.calls)), one
            assert [error["code"] for error in heard.errors] == [LOST], one
            assert heard.attempts == [LOST], one


def pairs(faulty: Faulty, dialect: str, cases: Sequence[Cut]) -> list[tuple[str, str]]:
    """For each cut a model that is cut there, and one that may go on with it."""
    return [
        (
            faulty.plays(fresh(dialect), cuts(unfinished(dialect, one.data))),
            faulty.plays(heir(), goes_on(one.said.text) if one.said.text else says("openai_chat", one.said)),
        )
        for one in cases
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cut_text_is_gone_on_with_and_no_word_is_repeated_or_missing(server: Installation, faulty: Faulty, dialect: str) -> None:
    cases = cuts_of(dialect, FIRST, Said("Once a day."), Said("Zwölf Äpfel 🍏🍏 fielen."), step=61)
    asked = pairs(faulty, dialect, cases)
    for one, models, heard in zip(cases, asked, ask_all(server, asked, stream=True), strict=True):
        check(heard, one)
        assert (heard.text, heard.errors) == (one.said.text, []), one
        tries = heard.receipt["attempts"]
        if one.place < one.shown:
            assert [each.get("error") for each in tries] == [LOST] * 3 + [None], one
        elif one.place >= one.whole:
            assert [each.get("error") for each in tries] == [None], one
            assert faulty.heard(models[1]) == []
        else:
            broken, successor = tries
            assert broken["error"] in (LOST, "upstream_timeout"), one  # on a busy machine the last bytes may come late
            assert (successor.get("error"), successor["continued"]) == (None, True), one
            (asked_on,) = faulty.heard(models[1])
            assert one.said.text.startswith(asked_on.json["messages"][-1]["content"]), one
            assert asked_on.json["messages"][-1]["role"] == "assistant"


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock"])
def test_an_upstream_of_another_dialect_may_go_on(server: Installation, faulty: Faulty, dialect: str) -> None:
    """Older models of Anthropic's take up the beginning of their answer."""
    said = Said("Once a day.")
    cases = [one for one in cuts_of("gemini", said) if one.shown <= one.place < one.whole]
    older = {"anthropic": "anthropic/claude-sonnet-4-5-old{}", "bedrock": "bedrock/anthropic.claude-sonnet-4-5-old{}"}[dialect]
    asked = [
        (
            faulty.plays(fresh("gemini"), cuts(unfinished("gemini", one.data))),
            faulty.plays(older.format(number), goes_on(said.text, dialect)),
        )
        for number, one in enumerate(cases)
    ]
    for one, models, heard in zip(cases, asked, ask_all(server, asked, stream=True), strict=True):
        check(heard, one)
        assert (heard.text, heard.attempts[1:]) == (said.text, [None]), one
        assert faulty.heard(models[1])[0].json["messages"][-1]["role"] == "assistant"


def test_who_cannot_go_on_leaves_it_to_the_next(server: Installation, faulty: Faulty) -> None:
    body, shown, _ = places("anthropic", FIRST)
    refuses = sends(whole({"error": {"message": "no prefix, please"}}, 400))
    breaks = sends(whole({"error": {"message": "no"}}, 500))
    page = sends(whole(b"<html>", kind="text/html"))

    def adds_a_word(line: Line, request: Received) -> None:
        begun = request.json["messages"][-1]["content"]
        rest = FIRST.text[len(begun) :]
        cuts(unfinished("openai_chat", delta(rest[:3])))(line, request)

    good = goes_on(FIRST.text)
    for scripts in (
        (refuses, good),
        (breaks, good),
        (page, good),
        (adds_a_word, good),
        (adds_a_word, adds_a_word, good),
        (stalls(b""), good),
    ):
        heirs = [faulty.plays(heir(), script) for script in scripts]
        first = faulty.plays(fresh("anthropic"), cuts(unfinished("anthropic", body[:shown])))
        heard = ask(server, [first, *heirs], stream=True)
        check(heard, scripts)
        assert (heard.text, heard.errors) == (FIRST.text, [])
        assert [bool(one.get("continued")) for one in heard.receipt["attempts"]] == [False] + [True] * len(scripts)
    first = faulty.plays(fresh("anthropic"), cuts(unfinished("anthropic", body[:shown])))
    heard = ask(server, [first, *(faulty.plays(heir(), breaks) for _ in range(5))], stream=True)
    check(heard, "nobody")
    assert [one["code"] for one in heard.errors] == [LOST]
    assert len(heard.attempts) == 4  # no more than three go on


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_cut_anywhere_is_somebody_elses(server: Installation, faulty: Faulty, dialect: str) -> None:
    data = whole(WHOLE[dialect](FIRST))
    asked = [
        (faulty.plays(fresh(dialect), cuts(data[:place])), faulty.plays(fresh("openai_chat"), says("openai_chat", SECOND)))
        for place in (*range(0, len(data), 23), len(data) - 1)
    ]
    for heard in ask_all(server, asked, stream=False):
        check(heard, heard)
        assert (heard.text, heard.attempts) == (SECOND.text, [LOST] * 3 + [None])


@pytest.mark.parametrize("dialect", ["gemini", "anthropic"])
def test_a_stream_that_is_one_array_stays_one(server: Installation, faulty: Faulty, dialect: str) -> None:
    """Google's streams without `alt=sse`."""
    cases = cuts_of(dialect, FIRST)
    asked = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    for one in cases:
        model = faulty.plays(fresh(dialect), cuts(unfinished(dialect, one.data)))
        other = faulty.plays(fresh("openai_chat"), says("openai_chat", SECOND))
        with Caller(server.port, server.key) as caller:
            path = f"/v1beta/models/{model.replace('/', '%2F')}:streamGenerateContent"
            answer = caller.ask(asked | {"models": [other]}, path)
        assert (answer.status, answer.cut) == (200, False), one
        *told, last = answer.json
        text = "".join(
            part["text"] for each in answer.json for one in each.get("candidates", ()) for part in one["content"].get("parts", ())
        )
        if one.shown <= one.place < one.whole:
            assert last["error"]["status"] == "UNAVAILABLE", one
            assert all("error" not in each for each in told)
            assert FIRST.text.startswith(text)
        else:
            assert text == (SECOND if one.place < one.shown else FIRST).text, one
            assert last["candidates"][0]["finishReason"] == "STOP", one


def test_of_several_choices_all_must_have_ended(server: Installation, faulty: Faulty) -> None:
    one = (delta("Hi"), delta(None, "stop"))
    two = tuple(chunk.replace(b'"index": 0', b'"index": 1') for chunk in one)
    for events, ended in (((*one, *two), True), ((*one, two[0]), False), (one, False), ((*one, DONE), True)):
        model = faulty.plays(fresh("openai_chat"), cuts(unfinished("openai_chat", b"".join(events))))
        heard = ask(server, [model], stream=True, n=2)
        check(heard, events)
        assert heard.ended == ended


SHAPES = {
    "json_object": {"type": "json_object"},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_no_plain_text_is_not_gone_on_with(server: Installation, faulty: Faulty, dialect: str) -> None:
    shape = SHAPES["json_object" if dialect in ("openai_chat", "openai_responses", "gemini") else "json_schema"]
    for said, more in (
        (CALLS, {"tools": TOOLS["openai_chat"]}),
        (FIRST, {"tools": TOOLS["openai_chat"]}),
        (THINKS, {}),
        (Said('{"a": 1, "b": [2]}'), {"response_format": shape}),
    ):
        cases = [one for one in cuts_of(dialect, said, step=10**6) if one.shown <= one.place < one.whole]
        asked = pairs(faulty, dialect, cases)
        for one, models, heard in zip(cases, asked, ask_all(server, asked, stream=True, **more), strict=True):
            check(heard, one)
            assert [error["code"] for error in heard.errors] == [LOST], one
            assert faulty.heard(models[1]) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("caller", [one for one in CALLERS if one != "openai_chat"])
def test_callers_of_every_dialect_lose_nothing(server: Installation, faulty: Faulty, caller: str, dialect: str) -> None:
    for said, tools in ((FIRST, {}), (CALLS, {"tools": TOOLS[caller]})):
        cases = cuts_of(dialect, said)
        for one, heard in zip(cases, ask_all(server, pairs(faulty, dialect, cases), stream=True, caller=caller, **tools), strict=True):
            check(heard, one)
            early = (
                caller == "gemini" and said.calls and not heard.errors
            )  # its callers get a call whole, and none was whole before the cut
            if said.text or early or not one.shown <= one.place < one.whole:
                assert (heard.text, heard.errors) == (said.text, []), one
                assert bare(heard.calls) == (ARGUMENTS if said.calls else ""), one
            else:
                assert len(heard.errors) == 1, one
                assert ARGUMENTS.startswith(bare(heard.calls)), one
