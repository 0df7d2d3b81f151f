"""The health book: a breaker as a state machine, averages, bounds, and the budget for second tries."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.core.errors import KINDS, Fault
from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.gateway.health import AT_ONCE, FIRST_OPEN_S, LONGEST_OPEN_S, LONGEST_RETRY_AFTER_S, PROBE_S, HealthBook, HedgeBudget

ONE = Deployment("p/m", "m", "p", "m")
ERROR = Fault("upstream_error", "x")
HARMLESS = sorted(kind for kind, row in KINDS.items() if not row.hurts_health)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Book(HealthBook):
    """A book with its clock at hand and a shorter way to say what happened."""

    def __init__(self, size: int = 4096) -> None:
        self.time = Clock()
        super().__init__(self.time, size)

    def ask(self, fault: Fault | str | None = None, tokens: int | None = None, seconds: float = 0.0, one: Deployment = ONE) -> None:
        """A whole request that takes `seconds`."""
        self.begin(one)
        self.time.now += seconds
        self.end(one, Fault(fault, "x") if isinstance(fault, str) else fault, tokens, seconds)

    @property
    def seen(self) -> Health:
        """What a policy sees of ONE."""
        return self.view(ONE)


def opened(book: Book) -> float:
    """How long the circuit stays open from now on, to a tenth of a second."""
    start, waited = book.time.now, 0.0
    while not book.view(ONE, start + waited).available:
        waited += 0.1
    return round(waited, 1)


def test_whoever_is_not_known_is_healthy() -> None:
    assert Book().seen == Health()


def test_four_failures_in_a_minute_open_the_circuit() -> None:
    book = Book()
    for _ in range(100):
        book.ask()
    for _ in range(3):
        book.ask(ERROR)
    assert book.seen.available
    book.ask(ERROR)
    assert not book.seen.available
    assert opened(book) == FIRST_OPEN_S


def test_failures_that_are_far_apart_do_not() -> None:
    book = Book()
    for _ in range(20):
        book.ask(ERROR)
        book.time.now += 20.1
        for _ in range(3):
            book.ask()
        assert book.seen.available


def test_half_of_five_requests_open_it() -> None:
    book = Book()
    for fault in (None, None, ERROR, ERROR):
        book.ask(fault)
    assert book.seen.available
    book.ask(ERROR)
    assert not book.seen.available


def test_a_share_is_of_the_last_minute() -> None:
    book = Book()
    for _ in range(100):
        book.ask()
    book.time.now += 61
    for fault in (None, None, ERROR, ERROR, ERROR):
        book.ask(fault)
    assert not book.seen.available


@pytest.mark.parametrize("kind", sorted(AT_ONCE))
def test_some_faults_open_it_at_once(kind: str) -> None:
    book = Book()
    book.ask(kind)
    assert not book.seen.available
    assert book.seen.outage_age_s == 0.0


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_callers_own_mistake_is_never_counted(kind: str) -> None:
    book = Book()
    for _ in range(50):
        book.ask(kind)
    assert book.seen == Health()


@pytest.mark.parametrize(
    ("retry_after_s", "open_s"), [(1.0, 1.0), (17.0, 17.0), (90.0, 90.0), (math.inf, LONGEST_RETRY_AFTER_S), (0.0, 5.0)]
)
def test_retry_after_says_how_long(retry_after_s: float, open_s: float) -> None:
    book = Book()
    book.ask(Fault("upstream_busy", "x", retry_after_s=retry_after_s))
    assert not book.view(ONE, book.time.now + open_s - 0.01).available
    assert book.view(ONE, book.time.now + open_s + 0.01).available


def test_each_failed_probe_doubles_the_time() -> None:
    book = Book()
    book.ask("upstream_timeout")
    times = []
    for _ in range(6):
        times.append(opened(book))
        book.time.now += times[-1] + 0.01
        book.ask(ERROR)
    assert times == pytest.approx([5, 10, 20, 40, LONGEST_OPEN_S, LONGEST_OPEN_S], abs=0.2)


def test_one_probe_at_a_time() -> None:
    book = Book()
    book.ask("upstream_timeout")
    book.time.now += 5.1
    assert book.seen.available
    book.begin(ONE)
    assert not book.seen.available
    book.time.now += 1
    book.end(ONE, None, 10, 1.0)
    assert book.seen.available
    book.ask(ERROR)
    assert book.seen.available  # what was held against it before is forgotten


def test_the_first_token_of_a_probe_is_enough() -> None:
    book = Book()
    book.ask("upstream_timeout")
    book.time.now += 5.1
    book.begin(ONE)
    book.time.now += 1
    book.first_token(ONE, 1.0)
    assert book.seen.available


def test_a_probe_that_never_ends_does_not_block_for_ever() -> None:
    book = Book()
    book.ask("upstream_timeout")
    book.time.now += 5.1
    book.begin(ONE)
    book.time.now += PROBE_S + 0.1
    assert book.seen.available


def test_a_probe_that_was_called_off_makes_room_for_another() -> None:
    book = Book()
    book.ask("upstream_timeout")
    book.time.now += 5.1
    book.ask("client_gone", seconds=0.5)
    assert book.seen.available
    book.begin(ONE)
    assert not book.seen.available


def test_a_rejection_shows_that_somebody_is_there() -> None:
    book = Book()
    book.ask("upstream_timeout")
    book.time.now += 5.1
    book.ask("upstream_rejected", seconds=0.5)
    book.begin(ONE)
    assert book.seen.available


def test_answers_from_before_it_opened_do_not_close_it() -> None:
    book = Book()
    book.begin(ONE)
    book.time.now += 3
    book.ask(Fault("upstream_busy", "x", retry_after_s=30.0))
    book.time.now += 1
    book.first_token(ONE, 4.0)
    book.end(ONE, None, 10, 4.0)
    assert not book.seen.available
    book.ask(seconds=0.5)  # asked in spite of it, and it answers
    assert book.seen.available


def test_failures_from_before_it_opened_do_not_double_the_time() -> None:
    book = Book()
    for _ in range(20):
        book.begin(ONE)
    book.time.now += 1
    for _ in range(20):
        book.end(ONE, ERROR, None, 1.0)
    assert opened(book) == FIRST_OPEN_S
    book.begin(ONE)
    book.end(ONE, Fault("upstream_busy", "x", retry_after_s=9.0), None, 2.0)
    assert opened(book) == 9.0


def test_a_peak_counts_at_once_and_passes_slowly() -> None:
    book = Book()
    book.first_token(ONE, 0.1)
    assert book.seen.first_token_s is None  # nobody began
    book.begin(ONE)
    book.first_token(ONE, 0.1)
    assert book.seen.first_token_s == pytest.approx(0.1)
    book.first_token(ONE, 3.0)
    assert book.seen.first_token_s == pytest.approx(3.0)
    book.time.now += 1
    book.first_token(ONE, 0.1)
    assert 2.0 < (book.seen.first_token_s or 0) < 3.0
    book.time.now += 60
    book.first_token(ONE, 0.1)
    assert book.seen.first_token_s == pytest.approx(0.1, abs=0.02)
    book.time.now += 3600
    assert (book.seen.first_token_s or 0) < 0.001


def test_a_stall_counts_as_a_peak() -> None:
    book = Book()
    book.ask("upstream_timeout", seconds=30.0)
    assert book.seen.first_token_s == pytest.approx(30.0)


@given(st.lists(st.floats(0, 100), max_size=200))
def test_the_percentile_is_that_of_the_last_samples(samples: list[float]) -> None:
    book = Book()
    book.begin(ONE)
    for seconds in samples:
        book.first_token(ONE, seconds)
    last = sorted(samples[-64:])
    assert book.seen.first_token_p95_s == (last[math.ceil(0.95 * len(last)) - 1] if len(last) >= 5 else None)


def test_speed_is_an_average_of_answers_that_tell_their_tokens() -> None:
    book = Book()
    book.ask(seconds=1.0)
    assert book.seen.tokens_per_s is None
    book.ask(None, 100, 1.0)
    assert book.seen.tokens_per_s == pytest.approx(100.0)
    book.ask(None, 50, 1.0)
    assert book.seen.tokens_per_s == pytest.approx(90.0)
    book.ask(ERROR, 1, 1.0)
    assert book.seen.tokens_per_s == pytest.approx(90.0)


def test_an_outage_grows_old() -> None:
    book = Book()
    book.ask(ERROR)
    book.time.now += 12
    assert book.seen.outage_age_s == 12.0


def test_records_are_bounded_and_the_oldest_go_first() -> None:
    book = Book(size=100)
    book.begin(ONE)
    book.ask(ERROR, one=Deployment("recent", "m", "p", "m"))
    for number in range(1000):
        book.time.now += 1
        book.ask(one=Deployment(f"made up {number}", "m", "p", "m"))
        book.ask(one=Deployment("recent", "m", "p", "m"))
        assert len(book._records) <= 100
    assert book.seen.in_flight == 1
    assert book.view(Deployment("recent", "m", "p", "m")).outage_age_s == 1000.0
    assert book.view(Deployment("made up 0", "m", "p", "m")) == Health()
    book.end(Deployment("made up 0", "m", "p", "m"), ERROR)  # forgotten, and not missed


class Breaker(RuleBasedStateMachine):
    """Any order of requests, beginnings of answers, faults and pauses, against what must hold in every state."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.running: list[float] = []
        self.hurt = 0

    @rule()
    def begin(self) -> None:
        """A request goes out; if the circuit is half open it is the probe."""
        circuit_open = bool(self.book._records and self.book._records[ONE.id].circuit)
        self.book.begin(ONE)
        self.running.append(self.book.time.now)
        if circuit_open:
            assert not self.book.seen.available

    @precondition(lambda self: self.running)
    @rule(
        first=st.booleans(), kind=st.none() | st.sampled_from(sorted(KINDS)), retry_after_s=st.none() | st.just(0.0) | st.floats(0.1, 100)
    )
    def end(self, first: bool, kind: str | None, retry_after_s: float | None) -> None:
        """One ends, somehow."""
        began = self.running.pop(0 if first else -1)
        fault = None if kind is None else Fault(kind, "x", retry_after_s=retry_after_s)
        available = self.book.seen.available
        self.book.end(ONE, fault, 10, self.book.time.now - began)
        if fault is None or not fault.row.hurts_health:
            assert self.book.seen.available or not available, "what hurts nobody closed the door"
        else:
            self.hurt += 1
            if fault.kind in AT_ONCE and available:
                assert not self.book.seen.available

    @precondition(lambda self: self.running)
    @rule()
    def first_token(self) -> None:
        """An answer begins."""
        self.book.first_token(ONE, self.book.time.now - self.running[-1])

    @rule(seconds=st.floats(0.01, 30))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.book.time.now += seconds

    @invariant()
    def it_opens_again(self) -> None:
        """No state lasts for ever, and load is counted."""
        assert self.book.view(ONE, self.book.time.now + LONGEST_RETRY_AFTER_S + PROBE_S).available
        assert self.book.seen.in_flight == len(self.running)
        assert self.hurt or self.book.seen.available
        assert (self.book.seen.outage_age_s is None) == (self.hurt == 0)


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.01, 0.05, 0.5]))
def test_second_tries_stay_a_share_of_requests(wishes: list[bool], share: float) -> None:
    budget = HedgeBudget(share)
    spent = 0
    for requests, wish in enumerate(wishes, 1):
        budget.earn()
        if wish and budget.has_room():
            budget.spend()
            spent += 1
        assert spent <= share * requests + 1e-9


def test_what_is_saved_up_is_bounded() -> None:
    budget = HedgeBudget(share=0.5, burst=2.0)
    for _ in range(1000):
        budget.earn()
    tries = 0
    while budget.has_room():
        budget.spend()
        tries += 1
    assert tries == 2
