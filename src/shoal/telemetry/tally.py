"""Counts requests on the path at the cost of a few additions; metrics.py publishes what has gathered here."""

from collections import defaultdict

from shoal.core.ledger import Entry
from shoal.core.students import PREFIX

STUDENTS, LOCAL = "ft", "minnow"
"""What all students are called in metrics, which anybody may read, and who serves them."""


class Counts:
    """What was counted for one endpoint, model, provider and status since the last publication."""

    __slots__ = ("cost_nano", "duration_us", "input_tokens", "output_tokens", "overhead_us", "requests")

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = 0
        self.cost_nano = self.overhead_us = self.duration_us = 0


Label = tuple[str, str, str, int]


class Tally:
    """Counts since the last `take`."""

    def __init__(self) -> None:
        self._counts: defaultdict[Label, Counts] = defaultdict(Counts)

    def count(self, entry: Entry) -> None:
        """Count one settled request."""
        # a model's name is the caller's word until a deployment is found, and must not become a label; nor must whose a student is
        model = STUDENTS if entry.model.startswith(PREFIX) and entry.provider == LOCAL else entry.model
        counts = self._counts[(entry.endpoint, model, entry.provider, entry.status)]
        counts.requests += 1
        counts.input_tokens += entry.input_tokens or 0
        counts.output_tokens += entry.output_tokens or 0
        counts.cost_nano += entry.cost_nano or 0
        counts.overhead_us += entry.overhead_us
        counts.duration_us += entry.duration_us

    def take(self) -> dict[Label, Counts]:
        """Everything counted so far; counting starts anew."""
        taken, self._counts = self._counts, defaultdict(Counts)
        return taken
