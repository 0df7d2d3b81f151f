"""How students are loaded: pipelines beside the minnow's, stepped in turn with it, and heads on the sentence model.

Their caches of keys and values are small, so that many fit: a student's traffic is routine, and the minnow keeps the large one.
"""

from collections.abc import Callable
from pathlib import Path

from shoal.core.errors import Fault
from shoal.mini import catalogue
from shoal.mini.card import Speed
from shoal.mini.residents import Footprint
from shoal.mini.served import HeadTurns, ServedChat, ServedHead
from shoal.mini.shelf import Published
from shoal.mini.stepper import Stepper

CACHE_TOKENS = 16_384
"""Of keys and values, at least a whole context: 32 answers of 512 tokens at once."""

_GROWTH = 3.5  # what OpenVINO holds of a graph's file once it has unpacked it for this processor, as measured (docs/lab.md)
_WORKING_BYTES = 128 << 20  # activations, and kernels made at the first steps
_HEAD_BYTES = 1 << 20


class StudentLoader:
    """residents.Loader of the child. `turns` is set once the sentence model is there; `lacks` says why it will not come."""

    def __init__(self, home: Path, threads: int, stepper: Stepper, on_broken: Callable[[str], None]) -> None:
        self._home, self._threads, self._stepper, self._on_broken = home, threads, stepper, on_broken
        self.turns: HeadTurns | None = None
        self.lacks: str | None = None

    def measure(self, student: Published) -> Footprint:
        """See residents.Loader."""
        size = sum(file.stat().st_size for file in student.directory.rglob("*") if file.is_file() and file.name != "model.gguf")
        if student.card.kind == "head":
            return Footprint(2 * size + _HEAD_BYTES)
        if student.card.engine == "llamacpp":
            whole = sum(file.stat().st_size for file in student.directory.rglob("*.gguf"))
            return Footprint(2 * whole + _WORKING_BYTES)
        from shoal.mini.openvino import MODEL_DIRECTORY, count_token_bytes

        tokens = max(CACHE_TOKENS, student.card.context_tokens)
        graph = sum(file.stat().st_size for file in (student.directory / MODEL_DIRECTORY).glob("openvino_model.*"))
        cache = tokens * count_token_bytes(student.directory / MODEL_DIRECTORY)
        return Footprint(int(_GROWTH * graph) + _WORKING_BYTES, cache)

    def load(self, student: Published, cache_bytes: int) -> ServedChat | ServedHead:
        """See residents.Loader."""
        if student.card.kind == "head":
            return self._load_head(student)
        engine = catalogue.load_engine(
            self._home, student.id, self._threads, self._on_broken, stepper=self._stepper, cache_bytes=cache_bytes or None
        )
        return ServedChat(student.id, engine)

    def _load_head(self, student: Published) -> ServedHead:
        from shoal.mini.heads import load_head

        if self.turns is None:
            if self.lacks is not None:
                raise Fault("overloaded", f"{student.id!r} needs the sentence model, which cannot be loaded: {self.lacks}")
            raise Fault("not_ready", "The sentence model is still being loaded; try again in a moment.", retry_after_s=1)
        return ServedHead(student.id, load_head(student.directory, self._threads), self.turns)


def speed_of(home: Path, student: Published, reading: Speed | None) -> Speed | None:
    """How fast a student is on this machine: as measured when it was made; a head that was not, as the sentence model reads."""
    try:
        return catalogue.measured_speed(home, student.id)
    except catalogue.UNREADABLE:
        pass
    if student.card.kind == "head":
        return reading
    try:
        return catalogue.measured_speed(home, student.card.base or catalogue.CHAT)
    except catalogue.UNREADABLE:
        return None
