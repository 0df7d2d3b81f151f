"""From tokens to text that may be shown: never half a character, never a stop string or the beginning of one.

Whatever the cuts between tokens, what is given out piece by piece is exactly what would be given out whole. A stop string is found where
it first becomes complete, as somebody reading along would find it; bytes that are not UTF-8 turn into U+FFFD.
"""

import codecs
from collections.abc import Callable, Sequence

import msgspec

_DECODER = codecs.getincrementaldecoder("utf-8")


class Stops:
    """Finds the first stop string in a text that arrives in pieces, and keeps back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Take a piece: the text that may be shown now, and whether a stop string was met (nothing after it is ever shown)."""
        if not self._stops:
            return text, False
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self._held = ""
            return text[: min(ends)[1]], True
        keep = max(held_length(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """The text that was kept back and turned out to be no stop string."""
        text, self._held = self._held, ""
        return text


def held_length(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a beginning of `word`, but not all of it."""
    for length in range(min(len(word) - 1, len(text)), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0


class Chosen(msgspec.Struct, frozen=True):
    """A chosen token as `logprobs` show it: its bytes, its natural-log probability, the character of the answer where it begins."""

    data: bytes
    logprob: float
    offset: int


class TextStream:
    """Turns one run's tokens into text, with the chosen tokens' logprobs beside it when they are asked for."""

    def __init__(self, decode_bytes: Callable[[Sequence[int]], bytes], stops: Sequence[str] = (), *, logprobs: bool = False) -> None:
        self._decode_bytes = decode_bytes
        self._decoder = _DECODER("replace")
        self._stops = Stops(stops)
        self._logprobs = logprobs
        self._read = 0
        self._shown = 0
        self._trail: list[Chosen] = []
        self.tokens = 0
        self.stopped = False
        self.chosen: list[Chosen] = []

    def feed(self, tokens: Sequence[int], logprobs: Sequence[float] = ()) -> str:
        """Take newly chosen tokens; the text that may be shown, with its tokens in `chosen`. `stopped` turns True at a stop string."""
        if self._logprobs:
            text = "".join([self._read_token(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)])
        else:
            text = self._decoder.decode(self._decode_bytes(tokens))
        self.tokens += len(tokens)
        shown, self.stopped = self._stops.feed(text)
        self._show(shown)
        return shown

    def finish(self) -> str:
        """The last text, once no token follows."""
        rest, self.stopped = self._stops.feed(self._decoder.decode(b"", True))
        if not self.stopped:
            rest += self._stops.finish()
        self._show(rest)
        if not self.stopped:
            self.chosen += self._trail
            self._trail = []
        return rest

    def _read_token(self, token: int, logprob: float) -> str:
        data = self._decode_bytes((token,))
        self._trail.append(Chosen(data, logprob, self._read))
        text = self._decoder.decode(data)
        self._read += len(text)
        return text

    def _show(self, text: str) -> None:
        if not self._logprobs:
            return
        self._shown += len(text)
        count = 0
        while count < len(self._trail) and self._trail[count].offset < self._shown:
            count += 1
        self.chosen, self._trail = self._trail[:count], self._trail[count:]
