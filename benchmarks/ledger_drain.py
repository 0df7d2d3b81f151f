"""A wallet of $1.00 and 200 callers at once, each asking until it is refused for good: what was spent, and whether the books agree."""

import asyncio
from argparse import Namespace
from pathlib import Path

import uvloop
from books import NANO, Answered, Firm, Watch, compare, found, read_answer, read_books
from harness import GATEWAY_CORE, Process, Shoal
from ledger_place import await_server, counted_config, start_understudy, write_questions
from load import Line
from report import Verdict, print_table

USD = 1
WORKERS = 3
MOST_TOKENS = 64
PAUSE_S = 0.05


def run(options: Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Drain the wallet."""
    port = start_understudy(started)
    shoal = Shoal(directory / "drain", counted_config(port), GATEWAY_CORE, name="shoal-drain", workers=WORKERS)
    started.append(shoal.process)
    file = shoal.home / "shoal.db"
    await_server(shoal)
    firm = found(file, USD)
    watch = Watch(file, firm.org_id)
    watch.start()
    answers, others = uvloop.run(_drain(shoal, firm, options.callers))
    shoal.process.stop()  # which folds the rest
    watch.stop()
    books = read_books(file, firm.org_id)
    said, charged = sum(one.nano for one in answers), sum(books.charged.values())
    compared = compare(answers, books)
    dearest = max((one.nano for one in answers), default=0)
    rows = [
        ("answers", len(answers)),
        ("dearest answer, USD", dearest / NANO),
        ("spent, USD", said / NANO),
        ("left, USD", books.balance / NANO),
        *((f"refused: {why}", others.count(why)) for why in dict.fromkeys(others)),
        ("looks at the store", watch.looks),
    ]
    print_table(f"${USD:.2f}, {options.callers} callers at once, {WORKERS} workers", ("what", "measured"), rows, options.markdown)
    verdict.at_least("drain: least balance ever seen, USD", min(watch.least_balance, books.balance) / NANO, 0)
    verdict.at_least("drain: least of it that was free, USD", watch.least_free / NANO, 0)
    verdict.at_most("drain: most balance ever seen, USD", watch.most_balance / NANO, USD)
    verdict.at_most("drain: left, USD", books.balance / NANO, 0.05)
    verdict.at_most("drain: sum of entries less balance, nano-USD", abs(books.postings - books.balance), 0)
    verdict.at_most("drain: what answers said less what was charged, nano-USD", abs(said - charged), 0)
    verdict.at_most("drain: wallet's loss less what was charged, nano-USD", abs(USD * NANO - books.balance - charged), 0)
    verdict.at_most("drain: answers not in the books, or otherwise", compared.missing + compared.different, 0)
    verdict.at_most("drain: errors that the check finds", len(books.errors), 0)
    verdict.at_most("drain: leases left", books.leases, 0)
    verdict.at_most("drain: answers of another kind", sum(not why.startswith("402") for why in others), 0)
    return {"answers": len(answers), "spent_nano": said, "left_nano": books.balance, "refusals": others, "errors": books.errors}


async def _drain(shoal: Shoal, firm: Firm, callers: int) -> tuple[list[Answered], list[str]]:
    """Every caller's whole answers, and how each was refused at last."""
    requests = write_questions(shoal.url, firm, MOST_TOKENS)
    answers: list[Answered] = []

    async def call(number: int) -> str:
        line, kind = Line(shoal.url), number % 2
        while True:
            reply = await line.ask(requests[kind], kind)
            read = read_answer(reply, bool(kind))
            if isinstance(read, Answered):
                answers.append(read)
            elif not read.startswith("402") or "retry-after" not in reply.heads:
                line.close()
                return read
            else:
                await asyncio.sleep(PAUSE_S)  # money is held by others: as asked to, though sooner

    return answers, list(await asyncio.gather(*(call(number) for number in range(callers))))
