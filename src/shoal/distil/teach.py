"""A model of the gateway answers what nobody has answered yet: many at once, paid, within a budget, and from where it was left.

While nobody answers it waits, and says so, for as long as it takes. What is refused for good ends it, in the gateway's own words. What
was answered is on the disk before the next is asked (answer_log.py), so nothing is paid twice.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.core.money import NANO_PER_USD, usd_text
from shoal.distil.answer_log import AnswerLog, Line, key_of
from shoal.distil.asking import Away, Refused, Said
from shoal.distil.rows import Message, Row
from shoal.distil.watch import Watch

Ask = Callable[[Sequence[Message], int], Awaitable[Said]]
"""Asks one question, for one of its samples (whose number can be the seed). Errors: asking.Away, asking.Refused."""
Bound = Callable[[Sequence[Message]], int]
"""The most that one question may cost, in nano-USD."""

EMPTY = "empty answer"
"""Why there is no answer where the model said nothing."""
_LONGEST_REST_S = 60.0
_SAY_S = 60.0
_TRIES = 5
_LAST_RESORT_S = 1800.0
"""The last questions are given up when they alone get no answer for so long; it might be they that nobody can answer."""


class Taught(msgspec.Struct, frozen=True):
    """Rows with their answers, one for each sample; how many questions got none, by reason; and what all of it cost, also before."""

    rows: tuple[Row, ...]
    rejected: Mapping[str, int]
    cost_nano: int
    asked: int


class Terms(msgspec.Struct, frozen=True):
    """How to teach: at most `budget_nano` is spent (None: whatever it costs), `samples` answers for a question, `at_once` questions. `who`
    answers, as events call it: a judge is asked in the same way."""

    budget_nano: int | None = None
    samples: int = 1
    at_once: int = 8
    who: str = "teacher"


def bound_of(prompt_usd: str, completion_usd: str, most_tokens: int) -> Bound:
    """The most that a question may cost at these prices a token, as /v1/models tells them: no token is shorter than a byte."""
    prompt, completion = (Decimal(text) * NANO_PER_USD for text in (prompt_usd, completion_usd))

    def bound(messages: Sequence[Message]) -> int:
        size = sum(len(str(message.get("content")).encode("utf-8", "replace")) + 16 for message in messages) + 16
        return int((size * prompt + most_tokens * completion).to_integral_value(ROUND_CEILING))

    return bound


async def label(
    rows: Sequence[Row],
    ask: Ask,
    watch: Watch,
    directory: Path,
    terms: Terms,
    bound: Bound | None = None,
    accept: Callable[[Said], None] = lambda said: None,
) -> Taught:
    """Have the rows without an answer answered; `directory` keeps what was said. `accept` sees every answer first, and may raise Fault.

    Errors: Refused, as the gateway said it; Fault; OSError; watch.Cancelled.
    """
    if terms.budget_nano is not None and bound is None:
        raise Fault(
            "invalid_value",
            f"The {terms.who}'s price is not known, so no budget can be kept: give none, or name another.",
            param="budget_usd",
        )
    waiting = {key_of(row.messages): row.messages for row in rows if not row.answer}
    with AnswerLog(directory) as log:
        lesson = _Lesson(waiting, ask, watch, terms, log, bound, accept)
        await lesson.run()
        return _collect(rows, log, terms, lesson.beyond_budget)


def _collect(rows: Sequence[Row], log: AnswerLog, terms: Terms, beyond_budget: bool) -> Taught:
    taught: list[Row] = []
    rejected: Counter[str] = Counter()
    for row in rows:
        key = key_of(row.messages)
        lines = [line for sample in range(terms.samples) if (line := log.lines.get((key, sample)))]
        answered = [_answered(row, line.said) for line in lines if line.said is not None]
        if row.answer or answered:
            taught += [row] if row.answer else answered
        else:
            why = next((line.why for line in lines if line.why), "beyond the budget" if beyond_budget else "not asked")
            rejected[why] += 1
    return Taught(tuple(taught), dict(rejected), log.spent_nano, len(log.lines))


def _answered(row: Row, said: Said) -> Row:
    origin = msgspec.structs.replace(row.origin, model=said.model, provider=said.provider, rule="")
    return msgspec.structs.replace(row, answer=said.text, origin=origin, logprob=said.logprob)


class _Lesson:
    """One run over all questions."""

    def __init__(
        self,
        waiting: Mapping[str, Sequence[Message]],
        ask: Ask,
        watch: Watch,
        terms: Terms,
        log: AnswerLog,
        bound: Bound | None,
        accept: Callable[[Said], None],
    ) -> None:
        self._waiting, self._ask, self._watch, self._terms, self._log, self._accept = waiting, ask, watch, terms, log, accept
        self._bound = bound or (lambda messages: 0)
        self._open = [(key, sample) for sample in range(terms.samples) for key in waiting if log.is_open(key, sample)]
        self._total = len(waiting) * terms.samples
        self._left = len(self._open)
        self._held_nano = 0  # for calls that the log does not know yet
        self._calls = 0  # under way
        self._settled = asyncio.Event()
        self._dearer = 1.0  # how many times its bound an answer has cost
        self._outage = _Outage(watch, terms.who)
        self._answered = 0
        self._began = time.monotonic()
        self.beyond_budget = False

    async def run(self) -> None:
        """Ask all that is open: one question first, by which it shows whether the rest can be asked at all."""
        questions = iter(self._open)
        self._tell()
        await self._work(questions, 1)
        workers = [asyncio.create_task(self._work(questions)) for _ in range(self._terms.at_once if self._left else 0)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, questions: Iterator[tuple[str, int]], most: int | None = None) -> None:
        while most is None or self._answered < most:
            question = next(questions, None)
            if question is None or not await self._teach(*question):
                return

    async def _teach(self, key: str, sample: int) -> bool:
        """Ask one question until something comes of it; False when the budget does not allow it."""
        messages = self._waiting[key]
        most = int(self._bound(messages) * self._dearer) + 1
        if not await self._hold(most):
            return False
        self._calls += 1
        try:
            try:
                await self._log.write(Line(key, sample, most))
            finally:
                self._held_nano -= most
            await self._log.write(await self._insist(key, sample, messages, most))
        finally:
            self._calls -= 1
            self._settled.set()
        self._left -= 1
        self._tell()
        return True

    async def _hold(self, most: int) -> bool:
        """Keep so much of the budget for a call, once calls under way have shown what they leave; False when there is not so much."""
        budget = self._terms.budget_nano
        while budget is not None and self._log.spent_nano + self._held_nano + most > budget:
            if not self._calls:
                if not self.beyond_budget:
                    self._watch.say(f"The budget of {usd_text(budget)} USD allows no more: {self._left} questions are left", "warn")
                self.beyond_budget = True
                return False
            self._settled.clear()
            await self._settled.wait()
        self._held_nano += most
        return True

    async def _insist(self, key: str, sample: int, messages: Sequence[Message], most: int) -> Line:
        tries, began, answered = 0, time.monotonic(), self._answered
        while True:
            await self._outage.over()
            try:
                said = await self._ask(messages, sample)
            except Away as away:
                tries += 1
                self._outage.begin(away)
                await self._log.write(Line(key, sample, most) if away.sent else Line(key, sample, void=True))
                others = self._answered > answered
                last = self._left <= self._terms.at_once and away.status is not None and time.monotonic() - began > _LAST_RESORT_S
                if (tries >= _TRIES and others) or last:
                    return Line(key, sample, 0, None, f"the {self._terms.who} fails on it")
            except Refused as refused:
                if refused.status not in (400, 413, 422) or not self._answered:
                    await self._log.write(Line(key, sample, void=True))
                    raise
                self._watch.say(f"The {self._terms.who} refuses a question: {refused}", "warn")
                return Line(key, sample, 0, None, f"the {self._terms.who} refuses it")
            else:
                self._outage.end()
                self._accept(said)
                self._answered += 1
                self._dearer = max(self._dearer, (said.cost_nano or 0) / most * self._dearer)
                return Line(key, sample, most, said) if said.text.strip() else Line(key, sample, said.cost_nano or most, None, EMPTY)

    def _tell(self) -> None:
        done = self._total - self._left
        passed = time.monotonic() - self._began
        left_s = {"seconds_left": round(passed / self._answered * self._left, 1)} if self._answered else {}
        self._watch.step(f"asking the {self._terms.who}", done, self._total, cost_usd=self._log.spent_nano / NANO_PER_USD, **left_s)


class _Outage:
    """Whether nobody answers just now: then all wait together, longer each time, and somebody is told."""

    def __init__(self, watch: Watch, who: str) -> None:
        self._watch, self._who = watch, who
        self._failures = 0
        self._until = self._since = self._said_at = 0.0

    async def over(self) -> None:
        """Wait until it is worth asking again."""
        rest_s = self._until - time.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)

    def begin(self, away: Away) -> None:
        """Nobody answered. Several that were asked at the same time count as one."""
        now = time.monotonic()
        if now < self._until:
            return
        self._since = self._since if self._failures else now
        self._failures += 1
        rest_s = max(min(2.0 ** (self._failures - 1), _LONGEST_REST_S), away.retry_after_s or 0.0)
        self._until = now + rest_s
        if self._failures == 1 or now - self._said_at >= _SAY_S:
            self._said_at = now
            self._watch.say(f"The {self._who} does not answer, and is asked again in {rest_s:.0f} s: {away}", "warn")

    def end(self) -> None:
        """Somebody answered."""
        if self._failures:
            self._watch.say(f"The {self._who} answers again after {time.monotonic() - self._since:.0f} s")
        self._failures = 0
