"""stepper.py: everyone with work gets a step a round; what one of them raises concerns it alone."""

import threading
from collections.abc import Iterator

import pytest

from shoal.mini.stepper import Stepper


@pytest.fixture
def stepper() -> Iterator[Stepper]:
    stepper = Stepper()
    yield stepper
    stepper.close()


class Counted:
    """Steps as often as it was told to, and writes down when."""

    def __init__(self, name: str, steps: int, log: list[str], fails: bool = False) -> None:
        self.name, self.left, self.log, self.fails = name, steps, log, fails
        self.ended = threading.Event()
        self.error: Exception | None = None

    def begin(self) -> bool:
        return self.left > 0

    def step(self) -> bool:
        if self.fails:
            raise RuntimeError(f"{self.name} is broken")
        self.log.append(self.name)
        self.left -= 1
        if not self.left:
            self.ended.set()
        return self.left > 0

    def break_off(self, error: Exception) -> None:
        self.error = error
        self.ended.set()


def test_those_with_work_take_turns(stepper: Stepper) -> None:
    log: list[str] = []
    one, two, gate = Counted("one", 4, log), Counted("two", 3, log), threading.Event()
    stepper.tell(one, lambda: gate.wait(10) and one.begin())
    stepper.tell(two, two.begin)
    gate.set()
    assert one.ended.wait(10) and two.ended.wait(10)
    assert log == ["one", "two"] * 3 + ["one"]


def test_one_that_raises_is_told_and_the_others_go_on(stepper: Stepper) -> None:
    log: list[str] = []
    bad, good = Counted("bad", 2, log, fails=True), Counted("good", 3, log)
    stepper.tell(bad, bad.begin)
    stepper.tell(good, good.begin)
    assert bad.ended.wait(10) and good.ended.wait(10)
    assert str(bad.error) == "bad is broken" and log == ["good"] * 3


def test_a_command_that_raises_is_the_same(stepper: Stepper) -> None:
    bad = Counted("bad", 1, [])

    def refuse() -> bool:
        raise ValueError("no")

    stepper.tell(bad, refuse)
    assert bad.ended.wait(10)
    assert isinstance(bad.error, ValueError)


def test_it_is_told_while_it_steps(stepper: Stepper) -> None:
    log: list[str] = []
    late = Counted("late", 1, log)

    class Endless(Counted):
        def step(self) -> bool:
            self.log.append(self.name)
            if len(self.log) == 5:
                stepper.tell(late, late.begin)
            return not late.ended.is_set()

    endless = Endless("endless", 1, log)
    stepper.tell(endless, endless.begin)
    assert late.ended.wait(10)
    assert log.index("late") <= 6
