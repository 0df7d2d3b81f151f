"""The first half of the recipe: rows from a file or from the log, answered by a teacher where they wait for one, become a dataset.

What is finished is remembered in the job's directory, so that a job that is taken up again asks and reads nothing twice.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.core.fine_tuning import Distillation, Logs, Supervised
from shoal.core.money import nano_from_usd, usd_text
from shoal.distil import checks, cleaning, collect, dataset, teach
from shoal.distil.asking import Away, Gateway, Said
from shoal.distil.collect import Gathered
from shoal.distil.dataset import Dataset
from shoal.distil.licences import decide
from shoal.distil.rows import Message, Row, subject_of
from shoal.distil.split import PARTS, Shares
from shoal.distil.student import Kind
from shoal.distil.telling import Order
from shoal.distil.watch import Watch
from shoal.storage.jobs import Job
from shoal.storage.store import Store, open_store

MADE = "dataset.json"
TAUGHT = "taught"
_LEAST_AGREEMENT = 0.6
"""Of several answers of a teacher to one question: two of three labels the same, or texts that are much alike."""
_MOST_ANSWER_TOKENS = 1024
_KINDS: tuple[Kind, ...] = ("label", "json", "number", "text")
_AT_ONCE = 8
_REST_S = 5.0


class Made(msgspec.Struct, frozen=True):
    """What is remembered: the dataset's id, and what its answers cost."""

    id: str
    teacher_nano: int = 0
    taught: int = 0


async def make_dataset(order: Order, plan: Supervised | Distillation, place: Path, watch: Watch) -> tuple[Dataset, Made]:
    """The dataset of a job, from where it was left. Errors: Fault, OSError, asking.Refused."""
    datasets = Path(order.home) / "datasets"
    if (place / MADE).exists():
        made = msgspec.json.decode((place / MADE).read_bytes(), type=Made)
        return await asyncio.to_thread(dataset.read, datasets / made.id), made
    gathered, validation = await _read_all(order, plan, watch)
    made = Made("")
    if isinstance(plan, Distillation) and plan.teacher:
        gathered, made = await _teach(gathered, order, plan, place, watch)
    shares = Shares(dev=min(0.1, plan.held_out / 2), test=plan.held_out)
    agreement = _LEAST_AGREEMENT if isinstance(plan, Distillation) and plan.samples > 1 else 0.0
    options = cleaning.Options(pii=plan.pii, seed=order.job.seed, shares=shares, least_agreement=agreement)
    built = await asyncio.to_thread(dataset.build, gathered, datasets, options, validation)
    _tell(built, watch)
    made = msgspec.structs.replace(made, id=built.id)
    (place / f"{MADE}.new").write_bytes(msgspec.json.encode(made))
    (place / f"{MADE}.new").replace(place / MADE)
    shutil.rmtree(place / TAUGHT, ignore_errors=True)  # it is in the dataset now, which can forget
    return built, made


async def _read_all(order: Order, plan: Supervised | Distillation, watch: Watch) -> tuple[Gathered, Sequence[Row]]:
    job = order.job
    store = await open_store(order.store if "://" in order.store else Path(order.store))
    try:
        gathered = await _read_file(store, job, job.training_file)
        if gathered is None:
            gathered = await _read_log(store, order, plan)
        validation = await _read_file(store, job, job.validation_file)
    finally:
        await store.close()
    watch.say(f"Gathered {len(gathered.rows)} rows{_reasons(gathered.rejected)}")
    return gathered, () if validation is None else validation.rows


async def _read_file(store: Store, job: Job, file_id: str | None) -> Gathered | None:
    if file_id is None:
        return None
    file = await store.files.find(job.project_id, file_id)
    subject = "" if file is None else subject_of(job.org_id, file.user_id)
    return await asyncio.to_thread(collect.from_file, await store.files.read(job.project_id, file_id), file_id, subject)


async def _read_log(store: Store, order: Order, plan: Supervised | Distillation) -> Gathered:
    logs = plan.logs if isinstance(plan, Distillation) and plan.logs is not None else Logs()
    wanted = collect.Wanted(
        labels=logs.metadata,
        model=logs.model,
        since_ms=logs.since_ms,
        until_ms=logs.until_ms,
        least_score=logs.score,
        asked=logs.stored,
        to_ask=isinstance(plan, Distillation) and bool(plan.teacher),
    )
    return await collect.from_logs(store, order.job.org_id, order.job.project_id, wanted, order.overrides)


async def _teach(gathered: Gathered, order: Order, plan: Distillation, place: Path, watch: Watch) -> tuple[Gathered, Made]:
    """Have what waits answered; answers that may not teach are left out. What must not be learnt from is not asked, and not paid."""
    rejected = Counter(gathered.rejected)
    asked: list[Row] = []
    for row in gathered.rows:
        if not row.answer and (reason := checks.reject(row)) is not None:
            rejected[reason] += 1
        else:
            asked.append(row)
    gathered = Gathered(tuple(asked), dict(rejected))
    waiting = sum(not row.answer for row in asked)
    if not waiting:
        return gathered, Made("")
    if not order.key:
        text = f"{waiting} rows wait for an answer of {plan.teacher}, and the key that wished for this job is no more."
        raise Fault("invalid_api_key", text, param="method.distillation.teacher")
    gateway = Gateway(order.url, order.key, order.authority, _AT_ONCE)
    try:
        bound = await find_bound(gateway, plan.teacher, _MOST_ANSWER_TOKENS, watch)
        budget = find_budget(order, plan, bound)
        watch.say(_foresee(gathered.rows, plan, bound, budget))

        async def ask(messages: Sequence[Message], sample: int) -> Said:
            warmer = {"temperature": 0} if plan.samples == 1 else {"temperature": 0.7, "seed": order.job.seed + sample}
            return await gateway.ask(plan.teacher, messages, max_tokens=_MOST_ANSWER_TOKENS, **warmer)

        def accept(said: Said) -> None:
            decisions = [decide(said.provider, said.model, kind, order.overrides) for kind in _KINDS]
            if not any(one.allowed for one in decisions):
                raise Fault(
                    "forbidden", f"Answers of {plan.teacher} may not teach: {decisions[0].rule}", param="method.distillation.teacher"
                )

        terms = teach.Terms(budget, plan.samples, _AT_ONCE)
        taught = await teach.label(gathered.rows, ask, watch, place / TAUGHT, terms, bound, accept)
    finally:
        gateway.close()
    watch.say(f"{plan.teacher} answered {taught.asked} questions for {usd_text(taught.cost_nano)} USD{_reasons(taught.rejected)}")
    rejected += Counter(taught.rejected)
    rows = collect.admit(taught.rows, order.overrides, rejected)
    return Gathered(tuple(rows), dict(rejected)), Made("", taught.cost_nano, taught.asked)


async def find_bound(gateway: Gateway, model: str, most_tokens: int, watch: Watch) -> teach.Bound | None:
    """The most that a question may cost, answered with `most_tokens`; None where the model's price is not known. Errors: Refused."""
    said = False
    while True:
        try:
            price = await gateway.find_price(model)
            return None if price is None else teach.bound_of(*price, most_tokens)
        except Away as away:
            if not said:
                watch.say(f"The gateway is waited for: {away}", "warn")
            said = True
            await asyncio.sleep(_REST_S)


def find_budget(order: Order, plan: Supervised | Distillation, bound: teach.Bound | None) -> int | None:
    """Nano-USD for all that the job asks; None where nobody wished for one and no price is known by which the usual one could be kept."""
    if isinstance(plan, Distillation) and plan.budget_usd is not None:
        return nano_from_usd(f"{plan.budget_usd:.9f}")
    return None if bound is None else order.budget_nano


def _foresee(rows: Sequence[Row], plan: Distillation, bound: teach.Bound | None, budget_nano: int | None) -> str:
    waiting = [row.messages for row in rows if not row.answer]
    if bound is None:
        return f"{len(waiting)} questions for {plan.teacher}, whose price is not known"
    most = sum(map(bound, waiting)) * plan.samples
    text = (
        f"{len(waiting)} questions for {plan.teacher}: at most {usd_text(most)} USD, likely far less (its answers are as long as they are)"
    )
    return text if budget_nano is None or most <= budget_nano else f"{text}; the budget is {usd_text(budget_nano)} USD"


def _tell(built: Dataset, watch: Watch) -> None:
    train, dev, test = (len(built.rows[part]) for part in PARTS)
    counts = f"{train} rows to learn from, {dev} to choose by, {test} to judge by"
    watch.say(f"Dataset {built.id}: {counts}{_reasons(built.manifest.rejected)}")
    if built.manifest.redacted:
        watch.say(f"Personal data was replaced: {', '.join(f'{count} {kind}' for kind, count in sorted(built.manifest.redacted.items()))}")


def _reasons(rejected: Mapping[str, int]) -> str:
    """`; left out: 3 empty, 2 too long`."""
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items(), key=lambda one: -one[1]))
    return f"; left out: {counted}" if counted else ""
