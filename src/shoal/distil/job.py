"""The recipe: from what a job wishes for to a published student, in one sentence (`make_student`), in a process of its own.

Run by the trainer as `python -m shoal.distil.job`, with its order on standard input. Whatever is finished lies in HOME/jobs/ID; killed at
any moment, the next process takes it up from there.
"""

import errno
import fcntl
import logging
import os
import sys
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.distil.asking import Refused
from shoal.distil.telling import Order, Teller
from shoal.distil.watch import Cancelled, Watch
from shoal.net.parent import follow_parent
from shoal.storage.jobs import Outcome, Trouble

NICENESS = 15
LOCK = "lock"
_TOLD = ("CannotSave", "CannotExport", "PullFailed", "ShelfError", "EngineFailed")
"""Errors of steps whose words are meant for whoever made the job; by name, since to import them is to load what they need."""

log = logging.getLogger("shoal.distil")


def make_student(order: Order, watch: Watch) -> Outcome:
    """Gather rows, taught where they wait for it; train the cheapest student that is good enough; quantise it, judge it, tell of it, and
    publish it, unless it is refused."""
    from shoal.distil.workshop import Workshop

    work = Workshop(order, watch)
    task = work.gather()
    student = work.quantise(task, work.choose(task))
    verdict = work.judge(task, student)
    work.report(task, student, verdict)
    return work.publish(student, verdict)


def run(order: Order, watch: Watch) -> Outcome:
    """The same, with what can go wrong told as the job's error."""
    place = Path(order.home) / "jobs" / order.job.id
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (place / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another one may be dying still
            return make_student(order, watch)
    except Cancelled:
        raise
    except Exception as error:  # the door of this process: its caller is a job, whose owner is to read what was wrong
        log.exception("the job %s failed", order.job.id)
        return Outcome(status="failed", error=explain(error, place))


def explain(error: Exception, place: Path) -> Trouble:
    """What the job's owner is told."""
    if isinstance(error, Fault):
        return Trouble(error.row.code or error.kind, error.message, error.param)
    if isinstance(error, Refused):
        return Trouble(error.code or "teacher_refused", f"The teacher cannot be asked: {error}")
    if (full := find_full(error)) is not None:
        where = f" ({full.filename})" if full.filename else ""
        return Trouble("disk_full", f"The disk that holds {place} is full{where}: make room, and make the job again.")
    if isinstance(error, MemoryError):
        return Trouble("out_of_memory", "The machine has too little memory for this job: name a smaller base, or fewer kinds of students.")
    if type(error).__name__ in _TOLD:
        return Trouble("job_failed", str(error))
    return Trouble(
        "internal_error", f"The job failed for a reason of our own ({type(error).__name__}): the server's operator finds it in {place}."
    )


def find_full(error: BaseException | None) -> OSError | None:
    """The full disk behind an error, if that is what it is."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


def main() -> None:
    """Entry of the process."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    follow_parent(lambda: os._exit(1))
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no line of ours
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    teller = Teller(lambda line: os.write(out, line))
    teller.end(run(order, teller))


if __name__ == "__main__":
    main()
