"""A model of the gateway compares a student's answers with its teacher's: asked as a teacher is (teach.py), paid out of the same budget.

Each row is two questions, one for each order; what was said is in a file under the question's key, so nothing is paid twice. An answer that
is no verdict is asked for once more.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from shoal.core.errors import Fault
from shoal.core.fine_tuning import Distillation, Supervised
from shoal.core.money import usd_text
from shoal.distil import teach
from shoal.distil.answer_log import AnswerLog, Line, key_of
from shoal.distil.asking import Gateway, Said
from shoal.distil.gate import Rules
from shoal.distil.gathering import find_bound, find_budget
from shoal.distil.rows import Message, Row
from shoal.distil.student import Task
from shoal.distil.telling import Order
from shoal.distil.watch import Watch
from shoal.evals import judge
from shoal.evals.judge import Choice, Comparison, Opinion

JUDGED = "judged"
_MOST_TOKENS = 512  # a letter is one; models that think before they speak need the rest
_AT_ONCE = 8
_TRIES = 2
_RETRY = {"temperature": 1.0}
"""Whoever said something else at 0 would say it again."""


def require_judge(order: Order, plan: Supervised | Distillation, watch: Watch) -> None:
    """See to it that the judge can be asked, before anything is paid or trained. Errors: Fault, Refused."""
    bound = asyncio.run(_find_price(order, plan, watch))
    if bound is None and find_budget(order, plan, bound) is not None:
        raise Fault("invalid_value", f"The price of {plan.judge} is not known, so no budget can be kept.", param=_param(plan))


def require_texts(task: Task, plan: Supervised | Distillation) -> None:
    """A judge is for texts alone: of everything else it is known what is right. Errors: Fault."""
    if plan.judge and task.kind != "text":
        text = f"A 'judge' compares texts, and these answers are of the kind {task.kind!r}, which are graded exactly: leave it out."
        raise Fault("unsupported_parameter", text, param=_param(plan))


def compare(
    order: Order, plan: Supervised | Distillation, task: Task, said: Sequence[str], rules: Rules, place: Path, spent_nano: int, watch: Watch
) -> Opinion:
    """What the judge says of a student's answers to task.test, beside those of the rows. `spent_nano` of the budget is gone already.

    Errors: Fault, Refused, OSError, watch.Cancelled.
    """
    return asyncio.run(_compare(order, plan, task, said, rules, place / JUDGED, spent_nano, watch))


async def _find_price(order: Order, plan: Supervised | Distillation, watch: Watch) -> teach.Bound | None:
    gateway = _open(order, plan)
    try:
        return await find_bound(gateway, plan.judge, _MOST_TOKENS, watch)
    finally:
        gateway.close()


async def _compare(
    order: Order, plan: Supervised | Distillation, task: Task, said: Sequence[str], rules: Rules, place: Path, spent_nano: int, watch: Watch
) -> Opinion:
    pairs = [(row, answer) for row, answer in zip(task.test, said, strict=True) if answer.strip() != row.answer.strip()]
    first = [judge.write_question(row.messages, answer, row.answer) for row, answer in pairs]
    second = [judge.write_question(row.messages, row.answer, answer) for row, answer in pairs]
    questions = [Row(messages) for both in zip(first, second, strict=True) for messages in both]
    bound = await _find_price(order, plan, watch)
    budget = find_budget(order, plan, bound)
    left = None if budget is None else max(0, budget - spent_nano)
    watch.say(f"{len(questions)} questions for {plan.judge}, which judges: {len(said) - len(pairs)} answers are the same")
    gateway = _open(order, plan)

    async def ask(messages: Sequence[Message], sample: int) -> Said:
        return await gateway.ask(plan.judge, messages, max_tokens=_MOST_TOKENS, **({"temperature": 0.0} if sample == 0 else _RETRY))

    try:
        for tries in range(1, _TRIES + 1):
            terms = teach.Terms(left, tries, _AT_ONCE, "judge")
            await teach.label(questions, ask, watch, place, terms, bound)
            with AnswerLog(place) as log:
                lines, cost_nano = log.lines, log.spent_nano
            questions = [row for row in questions if _is_no_verdict(lines.get((key_of(row.messages), tries - 1)))]
    finally:
        gateway.close()

    def read(messages: Sequence[Message]) -> Choice | None:
        told = (lines.get((key_of(messages), sample)) for sample in range(_TRIES))
        return next((choice for line in told if line and line.said and (choice := judge.read_choice(line.said.text))), None)

    same = [Comparison(same=True)] * (len(said) - len(pairs))
    compared = [Comparison(read(one), read(other)) for one, other in zip(first, second, strict=True)]
    opinion = judge.weigh(plan.judge, compared + same, rules.confidence, rules.seed, cost_nano)
    watch.say(
        f"{plan.judge} judged {opinion.rows} rows for {usd_text(cost_nano)} USD: {opinion.wins} better, {opinion.ties} even, "
        f"{opinion.losses} worse, {opinion.unjudged} without a verdict"
    )
    return opinion


def _is_no_verdict(line: Line | None) -> bool:
    """Whether the judge spoke, and said something else than was asked for; what it refuses, or nobody paid for, is not asked again."""
    if line is None or (line.said is None and line.why != teach.EMPTY):
        return False
    return line.said is None or judge.read_choice(line.said.text) is None


def _open(order: Order, plan: Supervised | Distillation) -> Gateway:
    if not order.key:
        raise Fault("invalid_api_key", f"The key that wished for this job is no more, so {plan.judge} cannot be asked.", param=_param(plan))
    return Gateway(order.url, order.key, order.authority, _AT_ONCE)


def _param(plan: Supervised | Distillation) -> str:
    return f"method.{'distillation' if isinstance(plan, Distillation) else 'supervised'}.judge"
