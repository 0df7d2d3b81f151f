"""Policies as callers meet them, over upstreams of every dialect: answers judged before they are given, second tries, circuits, costs."""

import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faulty import (
    CALLERS,
    DIALECTS,
    FAMILIES,
    HEIR,
    PRICE,
    Faulty,
    Heard,
    ask,
    ask_all,
    config,
    cuts,
    events_of,
    finished,
    goes_on,
    kept_receipt,
    places,
    says,
    sends,
    stalls,
    stream_head,
    unfinished,
)
from installation import Installation
from polyglot import COST, WHOLE, WITHOUT_CACHE, Said, frame
from upstream import Line, Received, Script, chunked, head, whole

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EACH = pytest.mark.parametrize("dialect", DIALECTS)
SHORT = Said("No.")
LONG = Said("Because of the rain.")
PAUSE_S = 0.3
JUDGED = 'policy = "cascade"\njudge = { min_chars = 6 }\ninner = { policy = "ordered", retries = 0 }'
ROUTES = {
    "cascade": JUDGED,
    **{f"kept-{number}": JUDGED for number in range(4)},
    "hedge": f'policy = "hedged"\nafter_s = {PAUSE_S}\ninner = {{ policy = "ordered", retries = 0 }}',
    "circuit": 'policy = "ordered"\nretries = 0',
    **dict.fromkeys(("announced", "alive", "slow"), 'policy = "ordered"\nretries = 0\nfirst_byte_s = 0.6'),
}


def more() -> str:
    """For each dialect two priced models, and a route of each policy over them; all names end in the dialect's."""
    lines = []
    for dialect, (provider, family) in FAMILIES.items():
        for name in ROUTES:
            for which in ("first", "second"):
                deployment = f'{{ provider = "{provider}", model = "{family}-{name}-{which}", prefill = false, {PRICE} }}'
                lines += [f'[models."{name}-{which}-{dialect}"]', f"deployments = [{deployment}]", ""]
            models = f'["{name}-first-{dialect}", "{name}-second-{dialect}"]'
            lines += [f'[routes."{name}-{dialect}"]', ROUTES[name], f"models = {models}", ""]
    lines += ["[models.will]", f'deployments = [{{ provider = "{HEIR}", model = "will", {PRICE} }}]', ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(faulty: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("policies-served"), config(faulty.port, more())).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def play(faulty: Faulty, name: str, dialect: str, first: Script, second: Script) -> str:
    """What both models of a route get; the route's name."""
    family = FAMILIES[dialect][1]
    faulty.play(f"{family}-{name}-first", first)
    faulty.play(f"{family}-{name}-second", second)
    return f"{name}-{dialect}"


def heard_of(faulty: Faulty, name: str, dialect: str, which: str) -> list[Received]:
    """The requests for one of the models of a route."""
    return faulty.received(f"{FAMILIES[dialect][1]}-{name}-{which}")


def cost(heard: Heard) -> list[float | None]:
    """The whole cost, and what the tries besides the answer cost."""
    return [heard.receipt["cost_usd"], *(one.get("cost_usd") for one in heard.receipt["attempts"])]


def failing(status: int, after_s: float = 0.0) -> Script:
    """An error, after a while."""

    def run(line: Line, request: Received) -> None:
        threading.Event().wait(after_s)
        line.send(whole({"error": {"message": "no"}}, status))

    return run


def late(script: Script, after_s: float) -> Script:
    """The same, after a while."""

    def run(line: Line, request: Received) -> None:
        threading.Event().wait(after_s)
        script(line, request)

    return run


def price(dialect: str) -> Any:
    """What an answer costs; Cohere bills units, the cache not taken off."""
    return pytest.approx(WITHOUT_CACHE if dialect == "cohere" else COST)


# cascades


@BOTH
@EACH
def test_a_good_answer_of_the_first_is_given(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    before = len(heard_of(faulty, "cascade", dialect, "second"))
    heard = ask(server, [play(faulty, "cascade", dialect, says(dialect, LONG), says(dialect, SHORT))], stream=stream)
    assert (heard.text, heard.ended, heard.attempts) == (LONG.text, True, [None])
    assert cost(heard) == [price(dialect), None]
    assert len(heard_of(faulty, "cascade", dialect, "second")) == before


@BOTH
@EACH
def test_a_poor_answer_is_paid_for_and_not_given(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    heard = ask(server, [play(faulty, "cascade", dialect, says(dialect, SHORT), says(dialect, LONG))], stream=stream)
    assert (heard.text, heard.ended, heard.attempts) == (LONG.text, True, ["escalated", None])
    assert cost(heard) == [pytest.approx(2 * price(dialect).expected), price(dialect), None]
    assert SHORT.text.encode() not in heard.answer.body
    assert kept_receipt(server, heard) == heard.receipt


@BOTH
@EACH
def test_where_nobody_does_better_the_poor_answer_is_given(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    heard = ask(server, [play(faulty, "cascade", dialect, says(dialect, SHORT), failing(500))], stream=stream)
    assert (heard.text, heard.ended, heard.attempts) == (SHORT.text, True, [None, "upstream_error"])
    assert cost(heard)[0] == price(dialect)


@EACH
def test_a_kept_answer_that_breaks_is_somebody_elses(server: Installation, faulty: Faulty, dialect: str) -> None:
    """Of a held stream nobody has had a word, wherever it breaks."""
    body, shown, whole_at = places(dialect, LONG)
    broken = (
        (cuts(unfinished(dialect, body[:shown])), "upstream_connection_lost"),
        (cuts(finished(dialect, body[: whole_at - 1])), "upstream_connection_lost"),
        (cuts(stream_head(dialect) + chunked([body[:shown]])[:-5] + b"zz\r\n"), "upstream_bad_answer"),
        (cuts(head(kind="text/html") + b"<html>"), "upstream_connection_lost"),
    )
    for number, (script, code) in enumerate(broken):
        heard = ask(server, [play(faulty, f"kept-{number}", dialect, script, says(dialect, SHORT))], stream=True)
        assert (heard.text, heard.ended, heard.attempts) == (SHORT.text, True, [code, None])


@pytest.mark.parametrize("caller", [one for one in CALLERS if one != "openai_chat"])
def test_kept_answers_are_for_callers_of_every_dialect(server: Installation, faulty: Faulty, caller: str) -> None:
    for dialect in DIALECTS:
        for first, second, text in ((LONG, SHORT, LONG.text), (SHORT, LONG, LONG.text)):
            route = play(faulty, "cascade", dialect, says(dialect, first), says(dialect, second))
            for stream in (False, True):
                heard = ask(server, [route], stream=stream, caller=caller)
                assert (heard.text, heard.ended, heard.errors) == (text, True, []), dialect


# second tries


def earn(server: Installation, faulty: Faulty) -> None:
    """Fill the budget of second tries: one for every 20 requests."""
    model = faulty.plays("plain/earning", says("openai_chat", SHORT))
    ask_all(server, [(model,)] * 220, stream=False)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_second_tries_win_lose_and_fail(server: Installation, faulty: Faulty, stream: bool) -> None:
    earn(server, faulty)
    cut = cuts(b"HTTP/1.1 200 OK\r\n")
    for dialect in ("anthropic", "bedrock", "gemini"):
        good = says(dialect, LONG)
        heard = ask(server, [play(faulty, "hedge", dialect, late(good, 1.0), good)], stream=stream)
        assert (heard.text, heard.attempts) == (LONG.text, ["superseded", None])
    for dialect, first, second, codes in (
        ("cohere", failing(500, PAUSE_S * 2), failing(503), ["upstream_error", "upstream_error"]),
        ("openai_responses", stalls(b""), failing(429), ["upstream_timeout", "rate_limit_exceeded"]),
        ("openai_chat", late(cut, PAUSE_S * 2), cut, ["upstream_connection_lost"] * 2),
    ):
        heard = ask(server, [play(faulty, "hedge", dialect, first, second)], stream=stream)
        assert (heard.ended, len(heard.errors), heard.attempts) == (False, 1, codes)
        assert heard.status in (429, 502, 504)
        assert heard.receipt["cost_usd"] == 0


def test_the_one_with_words_wins_and_not_the_one_that_only_began(server: Installation, faulty: Faulty) -> None:
    earn(server, faulty)
    for dialect in ("anthropic", "gemini", "bedrock"):
        body, shown, _ = places(dialect, SHORT)
        opened = stalls(unfinished(dialect, body[: shown // 2]))  # announced, and not a word
        heard = ask(server, [play(faulty, "hedge", dialect, opened, says(dialect, LONG))], stream=True)
        assert (heard.text, heard.attempts) == (LONG.text, ["superseded", None]), dialect


@BOTH
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_of_two_that_answer_in_the_same_moment_one_is_heard(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    earn(server, faulty)
    together = threading.Barrier(2)

    def at_once(said: Said) -> Script:
        def run(line: Line, request: Received) -> None:
            whole_body = b"".join(events_of(dialect, said))
            data = finished(dialect, whole_body) if stream else whole(WHOLE[dialect](said))
            together.wait(20)
            line.send(data)

        return run

    route = play(faulty, "hedge", dialect, at_once(LONG), at_once(SHORT))
    for _ in range(8):
        heard = ask(server, [route], stream=stream, caller=dialect)
        won = "first" if heard.text == LONG.text else "second"
        assert (heard.text, heard.ended, heard.errors) == (LONG.text if won == "first" else SHORT.text, True, [])
        assert heard.receipt["model"] == f"hedge-{won}-{dialect}"
        assert sorted(map(str, heard.attempts)) == ["None", "superseded"]
        assert heard.receipt["cost_usd"] == price(dialect)
        assert heard.receipt["first_byte_ms"] >= PAUSE_S * 1000
        assert heard.receipt["overhead_ms"] < 150  # waiting for either of them is no work of ours


@BOTH
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_a_second_try_that_talks_nonsense_stops_nobody(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    earn(server, faulty)
    nonsense = sends(finished(dialect, b"data: {]\n\n") if stream else whole(b'{"id": "x", "ch'))
    for first, second in (
        (late(says(dialect, LONG), PAUSE_S * 3), nonsense),
        (late(nonsense, PAUSE_S * 2), late(says(dialect, LONG), PAUSE_S * 2)),
    ):
        heard = ask(server, [play(faulty, "hedge", dialect, first, second)], stream=stream, caller=dialect)
        assert (heard.text, heard.ended, heard.errors) == (LONG.text, True, [])
        assert sorted(map(str, heard.attempts)) == ["None", "upstream_bad_answer"]


def test_two_that_fail_in_the_same_moment_are_both_told(server: Installation, faulty: Faulty) -> None:
    earn(server, faulty)
    together = threading.Barrier(2)

    def fail(line: Line, request: Received) -> None:
        together.wait(20)
        line.send(whole({"error": {"message": "no"}}, 400))

    route = play(faulty, "hedge", "openai_chat", fail, fail)
    for _ in range(8):
        heard = ask(server, [route], stream=False)
        assert (heard.status, len(heard.attempts), heard.errors[0]["message"]) == (400, 2, "no")


def test_a_second_try_that_breaks_off_is_gone_on_with(server: Installation, faulty: Faulty) -> None:
    earn(server, faulty)
    body, shown, _ = places("bedrock", LONG)
    faulty.play("will", goes_on(LONG.text))
    route = play(faulty, "hedge", "bedrock", stalls(b""), cuts(unfinished("bedrock", body[:shown])))
    heard = ask(server, [route, "will"], stream=True)
    assert (heard.text, heard.ended) == (LONG.text, True)
    assert heard.attempts == ["superseded", "upstream_connection_lost", None]


def test_without_budget_the_late_one_is_waited_for(server: Installation, faulty: Faulty) -> None:
    route = play(faulty, "hedge", "gemini", late(says("gemini", LONG), PAUSE_S * 2), says("gemini", SHORT))
    for _ in range(20):
        heard = ask(server, [route], stream=True)
        if len(heard.attempts) == 1:
            break
        assert heard.text == SHORT.text
    assert (heard.text, heard.attempts) == (LONG.text, [None])


# who does not begin


@EACH
def test_a_head_does_not_begin_an_answer(server: Installation, faulty: Faulty, dialect: str) -> None:
    body, shown, _ = places(dialect, LONG)
    announced = unfinished(dialect, body[: shown // 2])

    def lives(line: Line, request: Received) -> None:
        """Signs of life, and not a word."""
        line.send(stream_head(dialect))
        sign = frame("ping", {}) if dialect == "bedrock" else b": working\n\n"
        while line.open and not select.select([line.socket], [], [], 0.1)[0]:
            line.chunk(sign)
        line.close()

    def slow(line: Line, request: Received) -> None:
        """Begins in time, and then takes its time."""
        line.send(stream_head(dialect))
        line.chunk(body[:shown])
        threading.Event().wait(0.9)
        line.chunk(body[shown:])
        line.chunk(b"")

    for name, script in (("announced", stalls(announced)), ("alive", lives)):
        started = time.monotonic()
        heard = ask(server, [play(faulty, name, dialect, script, says(dialect, SHORT))], stream=True)
        assert (heard.text, heard.attempts) == (SHORT.text, ["upstream_timeout", None])
        assert time.monotonic() - started < 1.4
    heard = ask(server, [play(faulty, "slow", dialect, slow, says(dialect, SHORT))], stream=True)
    assert (heard.text, heard.attempts) == (LONG.text, [None])


# circuits


@EACH
def test_a_circuit_opens_is_probed_and_closes(server: Installation, faulty: Faulty, dialect: str) -> None:
    rest_s = 0.8
    busy = sends(whole({"error": {"message": "busy"}}, 429, f"retry-after-ms: {rest_s * 1000:.0f}\r\n"))
    first, second = says(dialect, LONG), says(dialect, SHORT)
    route = play(faulty, "circuit", dialect, busy, second)

    def run() -> tuple[str, list[str | None]]:
        heard = ask(server, [route], stream=True)
        return heard.text, heard.attempts

    opened_at = time.monotonic()
    assert run() == (SHORT.text, ["rate_limit_exceeded", None])
    open_for = []
    play(faulty, "circuit", dialect, busy, second)
    while time.monotonic() < opened_at + rest_s * 0.8:  # open: it is not asked
        open_for.append(run())
    assert open_for.count((SHORT.text, [None])) == len(open_for) > 0
    threading.Event().wait(opened_at + rest_s * 1.1 - time.monotonic())
    assert run() == (SHORT.text, ["rate_limit_exceeded", None])  # half open: the probe says that it is still busy
    assert run() == (SHORT.text, [None])
    threading.Event().wait(rest_s * 1.1)
    play(faulty, "circuit", dialect, late(first, 0.5), second)
    probe, *others = ask_all(server, [[route]] * 8, stream=True)
    texts = sorted(one.text for one in (probe, *others))
    assert texts == [LONG.text] + [SHORT.text] * 7  # one of them was the probe
    assert run() == (LONG.text, [None])  # closed


# what it costs


@EACH
def test_a_text_of_two_costs_what_both_cost(server: Installation, faulty: Faulty, dialect: str) -> None:
    body, shown, _ = places(dialect, LONG)
    play(faulty, "circuit", dialect, cuts(unfinished(dialect, body[:shown])), failing(500))
    faulty.play("will", goes_on(LONG.text))
    heard = ask(server, [f"circuit-first-{dialect}", "will"], stream=True)
    assert (heard.text, heard.attempts) == (LONG.text, ["upstream_connection_lost", None])
    total, broken, _ = cost(heard)
    assert broken is not None
    assert 0 < broken <= COST  # some tell what was used in every event
    assert total == pytest.approx(broken + COST)
    assert heard.receipt["attempts"][1]["continued"] is True
    assert kept_receipt(server, heard) == heard.receipt
