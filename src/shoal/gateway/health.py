"""How every deployment has done of late: a circuit breaker, first tokens, speed and load, and the budget for second tries.

On the path of every request, so that the healthy case touches a few numbers of one record. A caller's own mistake never counts. What is
kept is bounded: a record has a fixed size, and records that nobody has used for the longest time go first.
"""

import math
from collections import deque
from collections.abc import Callable

from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.models import Deployment

FAILURES_A_MINUTE = 3
"""More than these open a circuit."""
FAILED_SHARE = 0.5
FEWEST_REQUESTS = 5
"""More than this share of at least this many requests in the last minute does, too."""
AT_ONCE = frozenset({"upstream_auth", "upstream_not_found", "upstream_timeout", "upstream_busy"})
"""What one failure is enough for: 401 and 403, 404, 408 and 504, 429."""
FIRST_OPEN_S = 5.0
LONGEST_OPEN_S = 60.0
LONGEST_RETRY_AFTER_S = 3600.0
PROBE_S = 60.0
"""A probe that has not ended by then no longer keeps others from being sent."""

_WINDOW_S = 60.0
_HALF_S = _WINDOW_S / 2
_PEAK_S = 10.0
"""Time constant with which answers pull a peak down."""
_IDLE_S = 120.0
"""And the one with which it fades where nobody asks: in the end somebody tries again."""
_SAMPLES = 64
_FEWEST_SAMPLES = 5
_SPEED_SHARE = 0.2
_NEVER = -math.inf
_CLOSED, _OPEN = 0, 1
_HEALTHY = Health()


class _Record:
    """One deployment. A circuit is closed, open until `until`, and half open from then on; `probe_at` is when the probe began."""

    __slots__ = (
        "circuit",
        "failed",
        "failed_before",
        "failures",
        "first_token_at",
        "first_token_s",
        "half_at",
        "in_flight",
        "open_s",
        "opened_at",
        "outage_at",
        "p95_s",
        "probe_at",
        "requests",
        "requests_before",
        "samples",
        "speed",
        "touched_at",
        "until",
    )

    def __init__(self, now: float) -> None:
        self.in_flight = 0
        self.touched_at = self.half_at = now
        self.requests = self.requests_before = self.failed = self.failed_before = 0
        self.failures: list[float] = []
        self.circuit = _CLOSED
        self.opened_at = self.until = self.probe_at = self.outage_at = _NEVER
        self.open_s = FIRST_OPEN_S
        self.first_token_s: float | None = None
        self.first_token_at = now
        self.samples: deque[float] = deque(maxlen=_SAMPLES)
        self.p95_s: float | None = None
        self.speed: float | None = None

    def count(self, now: float, failed: int) -> None:
        """One more request in the last minute, which is kept as two halves of it."""
        age_s = now - self.half_at
        if age_s >= _HALF_S:
            old = age_s >= _WINDOW_S
            self.requests_before, self.failed_before = (0, 0) if old else (self.requests, self.failed)
            self.requests = self.failed = 0
            self.half_at = now
        self.requests += 1
        self.failed += failed

    def trips(self, now: float) -> bool:
        """Whether the failures of the last minute are too many. Called once for each."""
        self.failures.append(now)
        if len(self.failures) > FAILURES_A_MINUTE + 1:
            del self.failures[0]
        if len(self.failures) > FAILURES_A_MINUTE and now - self.failures[0] < _WINDOW_S:
            return True
        requests = self.requests + self.requests_before
        return requests >= FEWEST_REQUESTS and self.failed + self.failed_before > FAILED_SHARE * requests

    def open(self, now: float, retry_after_s: float | None) -> None:
        """Keep requests away: as long as the upstream says, or longer each time."""
        self.circuit, self.opened_at, self.probe_at = _OPEN, now, _NEVER
        if retry_after_s is not None and retry_after_s > 0:
            self.until = now + min(retry_after_s, LONGEST_RETRY_AFTER_S)
            return
        self.until = now + self.open_s
        self.open_s = min(2 * self.open_s, LONGEST_OPEN_S)

    def close(self) -> None:
        """Let requests through, with what was held against the deployment forgotten."""
        self.circuit = _CLOSED
        self.probe_at = _NEVER
        self.failures.clear()
        self.requests = self.requests_before = self.failed = self.failed_before = 0

    def is_available(self, now: float) -> bool:
        """Closed, or half open with no probe under way."""
        return self.circuit == _CLOSED or (now >= self.until and now - self.probe_at >= PROBE_S)

    def see_first_token(self, now: float, seconds: float) -> None:
        """A peak counts at once, whatever is quicker little by little."""
        known = self.first_token_s
        if known is None or seconds >= known:
            self.first_token_s = seconds
        else:
            kept = math.exp((self.first_token_at - now) / _PEAK_S)
            self.first_token_s = seconds + (known - seconds) * kept
        self.first_token_at = now


class HealthBook:
    """Health by deployment id, for at most `size` of them. `clock` gives seconds that only grow (time.monotonic)."""

    def __init__(self, clock: Callable[[], float], size: int = 4096) -> None:
        self._clock = clock
        self._size = size
        self._records: dict[str, _Record] = {}

    def begin(self, deployment: Deployment) -> None:
        """A request goes to the deployment; `end` must follow, whatever becomes of it."""
        record = self._records.get(deployment.id)
        if record is None:
            record = self._add(deployment.id)
        record.in_flight += 1
        if record.circuit:
            now = self._clock()
            if now >= record.until:
                record.probe_at = now

    def first_token(self, deployment: Deployment, seconds: float) -> None:
        """Its answer has begun, `seconds` after `begin`. That closes a half-open circuit: an answer may take minutes."""
        record = self._records.get(deployment.id)
        if record is None:
            return
        now = self._clock()
        record.see_first_token(now, seconds)
        record.samples.append(seconds)
        record.p95_s = None
        if record.circuit and now - seconds >= record.opened_at:
            record.close()

    def end(self, deployment: Deployment, fault: Fault | None = None, tokens: int | None = None, seconds: float = 0.0) -> None:
        """A request has ended, `seconds` after `begin`: with an answer of so many `tokens` (None: not known), or with a fault.

        A try that was called off (a second try won, the caller left) ends with a fault that hurts nobody, such as client_gone.
        """
        record = self._records.get(deployment.id)
        if record is None:
            return
        if record.in_flight:
            record.in_flight -= 1
        record.touched_at = now = self._clock()
        if fault is not None:
            self._fail(record, now, fault, seconds)
            return
        if now - record.half_at < _HALF_S:
            record.requests += 1
        else:
            record.count(now, 0)
        if tokens and seconds > 0:
            speed, known = tokens / seconds, record.speed
            record.speed = speed if known is None else known + _SPEED_SHARE * (speed - known)
        if record.circuit:
            if now - seconds >= record.opened_at:
                record.close()
                record.open_s = FIRST_OPEN_S
        elif record.open_s != FIRST_OPEN_S:
            record.open_s = FIRST_OPEN_S

    def view(self, deployment: Deployment, now: float | None = None) -> Health:
        """How it has done, seen from `now` (None: from the clock's)."""
        record = self._records.get(deployment.id)
        if record is None:
            return _HEALTHY
        if now is None:
            now = self._clock()
        first_token_s = record.first_token_s
        if first_token_s is not None:
            first_token_s *= math.exp((record.first_token_at - now) / _IDLE_S)
        return Health(
            record.circuit == _CLOSED or record.is_available(now),
            None if record.outage_at == _NEVER else now - record.outage_at,
            first_token_s,
            _p95_s(record),
            record.speed,
            record.in_flight,
        )

    def _fail(self, record: _Record, now: float, fault: Fault, seconds: float) -> None:
        begun_after_opening = now - seconds >= record.opened_at
        if not fault.row.hurts_health:
            if record.circuit and begun_after_opening:
                record.probe_at = _NEVER
                if fault.kind == "upstream_rejected":  # it is there, and says that the request is wrong
                    record.close()
            return
        record.outage_at = now
        record.count(now, 1)
        if fault.kind == "upstream_timeout" and seconds > (record.first_token_s or 0.0):
            record.see_first_token(now, seconds)
        if record.circuit == _CLOSED:
            if record.trips(now) or fault.kind in AT_ONCE:
                record.open(now, fault.retry_after_s)
        elif now >= record.until and (begun_after_opening or record.is_available(now)):  # the probe's word outweighs older ones
            record.open(now, fault.retry_after_s)
        elif fault.retry_after_s is not None:  # requests that were under way when it opened
            record.until = max(record.until, now + min(fault.retry_after_s, LONGEST_RETRY_AFTER_S))

    def _add(self, key: str) -> _Record:
        if len(self._records) >= self._size:
            self._forget()
        record = self._records[key] = _Record(self._clock())
        return record

    def _forget(self) -> None:
        """A quarter of the records at a time, those used longest ago: names of models are the callers' to make up."""
        idle = sorted((one for one in self._records.items() if not one[1].in_flight), key=lambda one: one[1].touched_at)
        for key, _ in idle[: max(1, self._size // 4)]:
            del self._records[key]


def _p95_s(record: _Record) -> float | None:
    """Of the last samples; sorted when asked for, and kept until the next one."""
    samples = record.samples
    if record.p95_s is None and len(samples) >= _FEWEST_SAMPLES:
        record.p95_s = sorted(samples)[math.ceil(0.95 * len(samples)) - 1]
    return record.p95_s


class HedgeBudget:
    """How many second tries there may be: at most `share` of the requests so far, and no more than `burst` saved up."""

    __slots__ = ("_burst", "_saved", "_share")

    def __init__(self, share: float = 0.05, burst: float = 10.0) -> None:
        self._share = share
        self._burst = max(burst, 1.0)
        self._saved = 0.0

    def earn(self) -> None:
        """A request has come."""
        saved = self._saved + self._share
        self._saved = saved if saved < self._burst else self._burst

    def has_room(self) -> bool:
        """Whether a second try may be made; asking changes nothing."""
        return self._saved >= 1.0

    def spend(self) -> None:
        """A second try is made."""
        self._saved -= 1.0
