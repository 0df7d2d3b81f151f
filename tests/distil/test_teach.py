"""Teaching through a real gateway: paid, resumable, within a budget, patient with outages, refused in the gateway's own words."""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installation import Installation
from shoal.core.errors import Fault
from shoal.distil import teach
from shoal.distil.answer_log import FILE, AnswerLog, Line, key_of
from shoal.distil.asking import Away, Gateway, Refused, Said
from shoal.distil.rows import Message, Origin, Row
from shoal.distil.teach import Ask, Taught, Terms, bound_of
from shoal.distil.watch import Cancelled
from upstream import Line as Wire
from upstream import Received, Upstream, completion, says, whole

MODEL = "up/teach-me"
USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
COST_NANO = 200_000  # 100 tokens at 1 USD a million and 50 at 2
BOUND = bound_of("0.000001", "0.000002", 100)


class Notes:
    """A watch that keeps what it is told, and calls the work off after so many steps."""

    def __init__(self, most_steps: int | None = None) -> None:
        self.said: list[str] = []
        self.heard = asyncio.Event()
        self.steps: list[tuple[int, int, dict[str, float]]] = []
        self.most_steps = most_steps

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        self.steps.append((done, total, figures))
        if self.most_steps is not None and len(self.steps) > self.most_steps:
            raise Cancelled

    def say(self, message: str, level: str = "info") -> None:
        self.said.append(message)
        self.heard.set()

    def checkpoint(self, step: int, **figures: float) -> None:
        pass


def rows(count: int) -> list[Row]:
    return [Row(({"role": "user", "content": f"question {at}"},), "", Origin("file", file_id="f", line=at)) for at in range(count)]


def answer(line: Wire, request: Received) -> None:
    """What the teacher says: the last word of the question."""
    line.send(whole(completion(request.json["messages"][-1]["content"].split()[-1], USAGE)))


@pytest.fixture(scope="module")
def school(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    config = f"""
[providers.up]
base_url = "http://127.0.0.1:{upstream.port}/v1"
api_key = "sk-upstream"
discover = false
timeouts = {{ first_byte_s = 2.0, idle_s = 2.0 }}
[models."up/teach-me"]
deployments = [{{ provider = "up", model = "teach-me", price = {{ input = 1.0, output = 2.0 }} }}]
"""
    server = Installation(tmp_path_factory.mktemp("school"), config).start()
    yield server
    server.stop()


@pytest.fixture
def gateway(school: Installation) -> Iterator[Gateway]:
    made = Gateway(f"http://127.0.0.1:{school.port}", school.key)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages that last tenths of seconds instead of minutes."""
    monkeypatch.setattr(teach, "_LONGEST_REST_S", 0.05)


def asker(gateway: Gateway) -> Ask:
    async def ask(messages: Sequence[Message], sample: int) -> Said:
        return await gateway.ask(MODEL, messages, seed=sample, max_tokens=100)

    return ask


async def label(gateway: Gateway, asked: Sequence[Row], place: Path, notes: Notes | None = None, **terms: Any) -> Taught:
    return await teach.label(asked, asker(gateway), notes or Notes(), place, Terms(**terms), BOUND)


async def test_rows_are_answered_by_whom_and_for_how_much_is_kept(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    upstream.play("teach-me", answer)
    notes = Notes()
    taught = await label(gateway, [*rows(12), Row(({"role": "user", "content": "known"},), "yes")], tmp_path, notes)
    assert [row.answer for row in taught.rows] == [*map(str, range(12)), "yes"]
    assert {(row.origin.model, row.origin.provider, row.origin.file_id) for row in taught.rows[:-1]} == {(MODEL, "up", "f")}
    assert (taught.cost_nano, taught.rejected) == (12 * COST_NANO, {})
    assert notes.steps[-1][:2] == (12, 12)
    assert notes.steps[-1][2]["cost_usd"] == 12 * COST_NANO / 1e9


async def test_several_samples_are_several_rows_with_seeds_of_their_own(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    upstream.play("teach-me", answer)
    before = len(upstream.received("teach-me"))
    taught = await label(gateway, rows(4), tmp_path, samples=3)
    assert len(taught.rows) == 12
    assert sorted(one.json["seed"] for one in upstream.received("teach-me")[before:]) == sorted([0, 1, 2] * 4)


async def test_the_same_question_is_asked_once(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    upstream.play("teach-me", answer)
    before = len(upstream.received("teach-me"))
    taught = await label(gateway, [*rows(3), *rows(3)], tmp_path)
    assert len(taught.rows) == 6
    assert len(upstream.received("teach-me")) == before + 3


async def test_a_budget_is_never_exceeded_and_what_was_answered_is_kept(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    upstream.play("teach-me", answer)
    budget = 10 * COST_NANO + COST_NANO // 2
    notes = Notes()
    taught = await label(gateway, rows(40), tmp_path, notes, budget_nano=budget, at_once=16)
    assert taught.cost_nano <= budget
    assert len(taught.rows) == taught.cost_nano // COST_NANO >= 9
    assert taught.rejected == {"beyond the budget": 40 - len(taught.rows)}
    assert [one for one in notes.said if "budget of 0.0021 USD" in one]
    more = await label(gateway, rows(40), tmp_path, budget_nano=2 * budget)
    assert len(more.rows) > len(taught.rows)
    assert more.cost_nano <= 2 * budget


async def test_without_a_known_price_no_budget_can_be_kept(gateway: Gateway, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="price is not known"):
        await teach.label(rows(1), asker(gateway), Notes(), tmp_path, Terms(budget_nano=5))


async def test_faults_of_the_teacher_are_waited_out(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    """Errors, a cut answer, a full house and a stall: everybody is answered in the end, and it was said that it took a while."""
    broken = whole(completion("cut", USAGE))[:-20]
    upstream.play(
        "teach-me",
        answer,
        says(whole({"error": {"message": "overloaded"}}, 503)),
        lambda line, _: (line.send(broken), line.reset()),  # type: ignore[func-returns-value]
        says(whole({"error": {"message": "slow down"}}, 429, "retry-after: 1\r\n")),
        lambda line, _: line.wait_gone(),  # type: ignore[arg-type, return-value]
        *[says(whole({"error": {"message": "broken"}}, 500))] * 6,
        answer,
    )
    notes = Notes()
    taught = await label(gateway, rows(20), tmp_path, notes)
    assert sorted(int(row.answer) for row in taught.rows) == list(range(20))
    assert any("does not answer" in one for one in notes.said)
    assert any("answers again" in one for one in notes.said)


async def test_a_teacher_that_is_away_is_waited_for(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    """Away until somebody has been told so."""
    back = threading.Event()

    def away(line: Wire, request: Received) -> None:
        if back.is_set():
            answer(line, request)
        else:
            line.send(whole({"error": {"message": "away"}}, 503))

    upstream.play("teach-me", away)
    notes = Notes()
    teaching = asyncio.create_task(label(gateway, rows(6), tmp_path, notes))
    await notes.heard.wait()
    assert not teaching.done()
    back.set()
    assert len((await teaching).rows) == 6


async def test_refusals_are_raised_in_the_gateway_s_own_words(
    school: Installation, upstream: Upstream, gateway: Gateway, tmp_path: Path
) -> None:
    stranger = Gateway(f"http://127.0.0.1:{school.port}", "sk-shoal-nobody")
    with pytest.raises(Refused) as refused:
        await label(stranger, rows(3), tmp_path / "stranger")
    assert refused.value.status == 401
    stranger.close()
    poor = Gateway(f"http://127.0.0.1:{school.port}", school.shoal("keys", "create", "poor", "--budget", "0.0001").strip())
    with pytest.raises(Refused, match="budget") as broke:
        await label(poor, rows(3), tmp_path / "poor")
    assert broke.value.status == 402
    poor.close()
    upstream.play("teach-me", says(whole({"error": {"message": "no such parameter", "code": "invalid"}}, 400)))
    with pytest.raises(Refused, match="no such parameter"):
        await label(gateway, rows(3), tmp_path / "wrong")


async def test_a_question_that_is_refused_alone_is_counted_and_the_rest_goes_on(
    upstream: Upstream, gateway: Gateway, tmp_path: Path
) -> None:
    def picky(line: Wire, request: Received) -> None:
        word = request.json["messages"][-1]["content"].split()[-1]
        if word == "3":
            line.send(whole({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400))
        elif word == "4":
            line.send(whole(completion("  ", USAGE)))
        elif word == "5":
            line.send(whole({"error": {"message": "always broken"}}, 500))
        else:
            answer(line, request)

    upstream.play("teach-me", picky)
    taught = await label(gateway, rows(30), tmp_path, at_once=3)
    assert taught.rejected == {"the teacher refuses it": 1, "empty answer": 1, "the teacher fails on it": 1}
    assert len(taught.rows) == 27
    assert taught.cost_nano == 28 * COST_NANO


async def test_what_was_answered_is_not_asked_again(upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    upstream.play("teach-me", answer)
    before = len(upstream.received("teach-me"))
    with pytest.raises(Cancelled):
        await label(gateway, rows(20), tmp_path, Notes(most_steps=6), at_once=2)
    taught = await label(gateway, rows(20), tmp_path)
    assert len(taught.rows) == 20
    assert 20 <= len(upstream.received("teach-me")) - before <= 22
    assert len((await label(gateway, rows(20), tmp_path)).rows) == 20
    assert len(upstream.received("teach-me")) - before <= 22


CHILD = """
import asyncio, sys, pathlib
sys.path.insert(0, {tests!r})
from test_teach import BOUND, asker, rows, Notes
from shoal.distil import teach
from shoal.distil.asking import Gateway
gateway = Gateway({url!r}, {key!r})
asyncio.run(teach.label(rows(60), asker(gateway), Notes(), pathlib.Path({place!r}), teach.Terms(at_once=4), BOUND))
"""


async def test_kill_9_loses_no_answer_that_was_paid(school: Installation, upstream: Upstream, gateway: Gateway, tmp_path: Path) -> None:
    enough, served = threading.Event(), []

    def slow(line: Wire, request: Received) -> None:
        served.append(request.json["messages"][-1]["content"])
        if len(served) > 20:
            enough.set()
            line.wait_gone()
        else:
            answer(line, request)

    upstream.play("teach-me", slow)
    here = Path(__file__).parent
    script = CHILD.format(tests=str(here), url=f"http://127.0.0.1:{school.port}", key=school.key, place=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}"}
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=env)
    await asyncio.to_thread(enough.wait, 30)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    with AnswerLog(tmp_path) as log:
        kept = {row.messages[0]["content"] for row in rows(60) if not log.is_open(key_of(row.messages), 0)}
        known, lost = len(kept), len(log.lines) - len(kept)
        assert 16 <= known <= 20  # what was just being written is lost
        assert 1 <= lost <= 4
        assert log.spent_nano >= known * COST_NANO + lost  # calls under way count at their most
    upstream.play("teach-me", answer)
    before = len(upstream.received("teach-me"))
    taught = await label(gateway, rows(60), tmp_path)
    assert len(taught.rows) == 60
    asked = {one.json["messages"][0]["content"] for one in upstream.received("teach-me")[before:]}
    assert asked == {row.messages[0]["content"] for row in rows(60)} - kept


async def test_one_process_at_a_time_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    with AnswerLog(tmp_path) as log:
        await log.write(Line("a", 0, 10))
        await log.write(Line("a", 0, 10, Said("x", 7)))
        await log.write(Line("b", 0, 10))
        with pytest.raises(Fault, match="Another process"):
            AnswerLog(tmp_path)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"key":"c","sam')
    with AnswerLog(tmp_path) as log:
        assert log.spent_nano == 17
        await log.write(Line("b", 0, 10))
        assert log.spent_nano == 27
        await log.write(Line("b", 0, void=True))
        assert log.spent_nano == 17
    assert all(json.loads(line) for line in (tmp_path / FILE).read_text().splitlines())


async def test_a_disk_that_is_full_is_an_error_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with AnswerLog(tmp_path) as log:
        await log.write(Line("a", 0, 1))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            await log.write(Line("b", 0, 1))
        monkeypatch.undo()
        await log.write(Line("c", 0, 1))
    with AnswerLog(tmp_path) as log:
        assert [key for key, _ in log.lines] == ["a", "c"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=30), st.integers(0, 3_000_000), st.integers(1, 9), st.data())
def test_no_order_of_events_exceeds_a_budget(costs: list[int], budget: int, at_once: int, data: st.DataObject) -> None:
    """Whatever answers cost below their bound, whichever calls fail, and whenever it is called off."""
    import tempfile

    spent = 0

    async def ask(messages: Sequence[Message], sample: int) -> Said:
        nonlocal spent
        for _ in range(data.draw(st.integers(0, 2))):
            await asyncio.sleep(0)
        cost = costs[int(messages[0]["content"].split()[-1])]
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            spent += cost  # charged, and lost on its way
            raise Away("lost", sent=True)
        spent += cost
        return Said("yes", cost)

    async def run(place: Path) -> None:
        for _ in range(3):
            try:
                await teach.label(
                    rows(len(costs)), ask, Notes(data.draw(st.integers(1, 20))), place, Terms(budget, 1, at_once), lambda _: 300_000
                )
            except Cancelled:
                continue

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        patch.setattr(teach, "_LONGEST_REST_S", 0.0)
        asyncio.run(run(Path(place)))
    assert spent <= budget
