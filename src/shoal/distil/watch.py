"""What a step of the recipe says while it works, and how it hears that it should stop.

Steps know nothing of jobs, terminals or databases: they are given a Watch. `Silent` is one that says nothing.
"""

from typing import Protocol


class Cancelled(Exception):
    """The work was called off; what is on disk can be taken up again."""


class Watch(Protocol):
    """Where a step reports to. All methods return at once."""

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Progress of a stage, `done` of `total`; figures such as loss=1.2, seconds_left=30. Raises Cancelled when called off."""

    def say(self, message: str, level: str = "info") -> None:
        """One event for whoever follows: info, warn or error."""

    def checkpoint(self, step: int, **figures: float) -> None:
        """A state was saved that can be taken up again."""


class Silent:
    """A watch that nobody looks at."""

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Nothing."""

    def say(self, message: str, level: str = "info") -> None:
        """Nothing."""

    def checkpoint(self, step: int, **figures: float) -> None:
        """Nothing."""
