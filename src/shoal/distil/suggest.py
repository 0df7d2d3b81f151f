"""Which part of a project's traffic a mini could take over, and what that would save: kinds of requests that look alike, with their cost.

It reads what is kept, and says what it cannot know: how good a mini would be (only the gate tells), and what was not kept. Examples are
shown without the personal data that rules find.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from shoal.core.errors import Fault
from shoal.core.money import NANO_PER_USD, Price, nano_from_pico, nano_from_usd
from shoal.distil.clusters import Cluster, asked_of, cluster, find_frames
from shoal.distil.collect import Wanted, read_row, sought_of
from shoal.distil.ladder import kind_of
from shoal.distil.licences import Override, decide
from shoal.distil.rows import Message, Origin, Row
from shoal.distil.student import Kind
from shoal.evals.stats import wilson_interval
from shoal.guard import pii
from shoal.mini.heads import Embed
from shoal.storage.completions import Completion
from shoal.storage.consumption import Span
from shoal.storage.store import Store

DAY_MS = 86_400_000
MONTH_DAYS = 30
_TRUSTED_DAYS = 7
_LOOSE = 0.45
"""Requests that are less alike than this on average are a mixture."""
_ENOUGH_ROWS, _FEW_ROWS = 500, 100
_LONG_ANSWER_TOKENS = 200
_LOOKED_AT_CHARS = 600
"""The beginning of a question tells what it is about; embedding more takes longer."""
_EXAMPLES, _EXAMPLE_CHARS = 3, 160

Fitness = Literal["good", "perhaps", "unlikely"]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One kept chat, as far as it counts here. What is None is not known."""

    at_ms: int
    messages: tuple[Message, ...]
    answer: str
    model: str
    provider: str
    labels: dict[str, str]
    cost_nano: int | None
    input_tokens: int | None
    output_tokens: int | None


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of requests. Costs are USD a month, as the days that were looked at go on; `share` is of the requests, with the interval in
    which it lies with 95%, `share_of_cost` of the money. `mini_usd` is what a model trained from the minnow would cost for the same
    tokens; None where the minnow's speed is not measured. `why` says what speaks for `fitness`, or against it."""

    requests: int
    share: float
    share_interval: tuple[float, float]
    share_of_cost: float
    cost_usd: float
    cost_interval_usd: tuple[float, float]
    mini_usd: float | None
    kind: Kind
    labels: int
    models: dict[str, int]
    tokens_in: float | None
    tokens_out: float | None
    cohesion: float
    may_teach: int
    fitness: Fitness
    why: tuple[str, ...]
    instructions: str
    examples: tuple[str, ...]
    tag: str | None
    command: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what came of it, the dearest first. `unknown` is what nobody should forget when reading it."""

    requests: int
    kept: int
    days: float
    cost_usd: float
    suggestions: tuple[Suggestion, ...]
    unknown: tuple[str, ...]


async def suggest(
    store: Store, org_id: str, project_id: str, embed: Embed, mini: Price | None, wanted: Wanted, overrides: Sequence[Override] = ()
) -> Report:
    """Look at what a project keeps, the newest `wanted.most` of it. Errors: Fault where it keeps nothing."""
    await store.projects.find(org_id, project_id)
    seen = await _read(store, project_id, wanted)
    if not seen:
        text = "Nothing is kept that could be looked at: send `store: true`, or set the project's `keep_bodies`."
        raise Fault("not_found", text, param="project")
    first, last = seen[-1].at_ms // DAY_MS, seen[0].at_ms // DAY_MS
    used = await store.consumption.read(Span(first_day=first, last_day=last, org_id=org_id, project_id=project_id), ["project"])
    requests = max(used[0].requests if used else 0, len(seen))
    return report(seen, requests, embed, mini, overrides)


async def _read(store: Store, project_id: str, wanted: Wanted) -> list[Seen]:
    seen: list[Seen] = []
    async for kept in store.completions.walk(sought_of(project_id, wanted), newest_first=True):
        if (one := _see(kept)) is not None:
            seen.append(one)
        if len(seen) >= wanted.most:
            break
    return seen


def _see(kept: Completion) -> Seen | None:
    """A kept chat; None for one that is no plain text."""
    try:
        asked, answered = msgspec.json.decode(kept.request), msgspec.json.decode(kept.response)
        row = read_row([*asked["messages"], {**answered["choices"][0]["message"], "role": "assistant"}], Origin("logs"))
        usage: dict[str, Any] = answered.get("usage") or {}
        cost = usage.get("cost")
        if not isinstance(row, Row) or asked.get("tools"):
            return None
        return Seen(
            at_ms=kept.at_ms,
            messages=row.messages,
            answer=row.answer,
            model=kept.model,
            provider=kept.provider,
            labels=kept.labels,
            cost_nano=None if cost is None else nano_from_usd(f"{cost:.9f}"),
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
        )
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, AttributeError, ValueError):
        return None


def report(seen: Sequence[Seen], requests: int, embed: Embed, mini: Price | None, overrides: Sequence[Override] = ()) -> Report:
    """The report on these chats, of so many requests in the same time."""
    days = max((max(one.at_ms for one in seen) - min(one.at_ms for one in seen)) / DAY_MS, 1.0)
    total_nano = sum(one.cost_nano or 0 for one in seen)
    found = find_frames([one.messages for one in seen])
    framed = {place for one in found for place in one.places}
    rest = [place for place in range(len(seen)) if place not in framed]
    texts = [asked_of(seen[place].messages)[:_LOOKED_AT_CHARS] for place in rest]
    vectors = embed(texts) if rest else np.zeros((0, 1), np.float32)
    found += [Cluster(tuple(rest[place] for place in one.places), one.cohesion) for one in cluster(vectors, texts)]
    made = [_suggestion(one, seen, days, total_nano, mini, overrides) for one in found]
    made.sort(key=lambda one: (-one.cost_usd, -one.requests, one.examples))
    return Report(
        requests=requests,
        kept=len(seen),
        days=round(days, 2),
        cost_usd=total_nano / NANO_PER_USD / days * MONTH_DAYS,
        suggestions=tuple(made),
        unknown=tuple(_unknown(seen, requests, days)),
    )


def _unknown(seen: Sequence[Seen], requests: int, days: float) -> list[str]:
    told = ["How good a mini would be: a student is judged by the gate on requests that it has not seen, and published only if it passes."]
    if requests > len(seen):
        told.append(f"What is in {requests - len(seen)} of {requests} requests: they were not kept, or hold more than text.")
    if days < _TRUSTED_DAYS:
        told.append(f"Whether other days are like these: only {days:.1f} were looked at.")
    if unpriced := sum(one.cost_nano is None for one in seen):
        told.append(f"What {unpriced} requests cost: nobody knows the price, so they count as nothing here.")
    return told


def _suggestion(
    found: Cluster, seen: Sequence[Seen], days: float, total_nano: int, mini: Price | None, overrides: Sequence[Override]
) -> Suggestion:
    here = [seen[place] for place in found.places]
    costs = [one.cost_nano or 0 for one in here]
    per_month = MONTH_DAYS / days / NANO_PER_USD
    spread = 1.96 * math.sqrt(sum((cost - sum(costs) / len(costs)) ** 2 for cost in costs) + sum(costs) ** 2 / len(costs))
    answers = [one.answer for one in here if one.answer.strip()]
    kind, labels = kind_of(answers) if answers else ("text", ())
    models = Counter(one.model for one in here)
    may_teach = sum(
        count
        for (provider, model), count in Counter((one.provider, one.model) for one in here).items()
        if decide(provider, model, kind, overrides).allowed
    )
    tokens_in, tokens_out = (_mean([getattr(one, name) for one in here]) for name in ("input_tokens", "output_tokens"))
    fitness, why = _fitness(len(here), kind, len(labels), tokens_out, found)
    if may_teach < len(here):
        why = (
            *why,
            f"{len(here) - may_teach} answers may not teach such a task, or it is not known: name a teacher that may, or an override",
        )
    tag = _find_tag(found.places, seen)
    return Suggestion(
        requests=len(here),
        share=len(here) / len(seen),
        share_interval=wilson_interval(len(here), len(seen)),
        share_of_cost=sum(costs) / total_nano if total_nano else 0.0,
        cost_usd=sum(costs) * per_month,
        cost_interval_usd=(max(0.0, sum(costs) - spread) * per_month, (sum(costs) + spread) * per_month),
        mini_usd=_mini_nano(here, mini) * per_month if mini is not None and tokens_in is not None else None,
        kind=kind,
        labels=len(labels),
        models=dict(models.most_common()),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cohesion=round(found.cohesion, 3),
        may_teach=may_teach,
        fitness=fitness,
        why=why,
        instructions=pii.redact(found.instructions)[:_EXAMPLE_CHARS],
        examples=tuple(
            _shorten(asked_of(one.messages)) for one in sorted(here, key=lambda one: (one.at_ms, asked_of(one.messages)))[:_EXAMPLES]
        ),
        tag=tag,
        command=_command(tag, models.most_common(1)[0][0]),
    )


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mini_nano(here: Sequence[Seen], mini: Price) -> int:
    return nano_from_pico(sum((one.input_tokens or 0) * mini.input_pico + (one.output_tokens or 0) * mini.output_pico for one in here))


def _fitness(requests: int, kind: Kind, labels: int, tokens_out: float | None, found: Cluster) -> tuple[Fitness, tuple[str, ...]]:
    why = {
        "label": (f"answers are one of {labels} labels, which the cheapest students learn",),
        "json": ("answers are JSON objects, whose fields can be checked",),
        "number": ("answers are numbers, which may need thought that a mini does not have",),
        "text": ("answers are free text, which only a judge can compare",),
    }[kind]
    if found.cohesion < _LOOSE:
        return "unlikely", (*why, "the requests have little in common")
    if requests < _FEW_ROWS:
        return "unlikely", (*why, f"{requests} requests are too few to learn from")
    if kind == "text" and (tokens_out or 0) > _LONG_ANSWER_TOKENS:
        return "unlikely", (*why, f"answers have {tokens_out:.0f} tokens on average, more than a mini writes well")
    if requests < _ENOUGH_ROWS:
        return "perhaps", (*why, f"{requests} requests are few; more are better")
    return ("good" if kind in ("label", "json") else "perhaps"), why


def _find_tag(places: Sequence[int], seen: Sequence[Seen]) -> str | None:
    """Metadata that nearly all of these have and hardly any other: NAME=VALUE."""
    everywhere: Counter[tuple[str, str]] = Counter(label for one in seen for label in one.labels.items())
    here: defaultdict[tuple[str, str], int] = defaultdict(int)
    for place in places:
        for label in seen[place].labels.items():
            here[label] += 1
    telling = [label for label, count in here.items() if count >= 0.9 * len(places) and count >= 0.9 * everywhere[label]]
    return "=".join(min(telling)) if telling else None


def _command(tag: str | None, model: str) -> str:
    """What to run; where no metadata tells these requests apart, they have to be told apart first."""
    if tag is None:
        return "send these requests with metadata of their own, such as task=NAME, and ask again"
    return f'shoal distil run --from-logs "{tag}" --teacher {model} --target-quality 0.95'


def _shorten(text: str) -> str:
    plain = " ".join(pii.redact(text[: 4 * _EXAMPLE_CHARS]).split())
    return plain if len(plain) <= _EXAMPLE_CHARS else plain[: _EXAMPLE_CHARS - 1] + "…"


def show(report: Report, console: Any) -> None:
    """The report for a person, on a console of rich."""
    from rich.table import Table
    from rich.text import Text

    console.print(f"{report.kept} of {report.requests} requests of {report.days:.1f} days were looked at: {_usd(report.cost_usd)} a month.")
    table = Table("share", "requests", "USD a month", "of cost", "a mini", "answers", "fit", "what")
    for one in report.suggestions:
        low, high = one.cost_interval_usd
        table.add_row(
            f"{one.share:.0%}",
            str(one.requests),
            f"{_usd(one.cost_usd)} ({_usd(low)}-{_usd(high)})",
            f"{one.share_of_cost:.0%}",
            "not known" if one.mini_usd is None else _usd(one.mini_usd),
            f"{one.labels} labels" if one.kind == "label" else one.kind,
            one.fitness,
            Text(one.instructions or (one.examples[0] if one.examples else "")),
        )
    console.print(table)
    for one in report.suggestions:
        if one.fitness == "unlikely":
            continue
        mini = "" if one.mini_usd is None else f"; a mini would cost {_usd(one.mini_usd)}"
        console.print(Text(f"\nThese {one.share:.0%} of your requests look alike and cost {_usd(one.cost_usd)} a month{mini}."))
        console.print(Text("\n".join(f"  {line}" for line in (*one.why, f"run: {one.command}"))))
    console.print("\nWhat this cannot know:")
    console.print(Text("\n".join(f"  {line}" for line in report.unknown)))


def _usd(amount: float) -> str:
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.4f} USD"
