"""A process that works on a job as its suffix says, for tests of the trainer: it reads its order and tells what a real one does."""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from shoal.distil.telling import Order, Teller
from shoal.net.parent import follow_parent
from shoal.storage.jobs import Outcome, Trouble

order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
follow_parent(lambda: os._exit(1))
teller = Teller(lambda line: os.write(1, line))
place = Path(order.home) / "jobs" / order.job.id
(place / "order.json").write_bytes(msgspec.json.encode(order))
print("a library says something that is no line of ours", flush=True)
plan = order.job.suffix or ""
teller.say(f"attempt {order.job.attempt} begins")
teller.step("train", 0, 10, loss=2.0, seconds_left=60.0)
teller.step("train", 10, 10, loss=float("nan"))
teller.checkpoint(10, loss=1.0)
if plan.startswith("dies") and order.job.attempt < int(plan[4:]):
    os.kill(os.getpid(), signal.SIGKILL)
if plan == "waits" and order.job.attempt < 2:
    (place / "waiting").write_text(str(os.getpid()))
    time.sleep(600)
if plan == "refuses":
    teller.end(Outcome(status="failed", error=Trouble("gate_refused", "worse than its teacher")))
else:
    teller.end(Outcome(status="succeeded", fine_tuned_model="ft:minnow:o:x:1", trained_tokens=100))
