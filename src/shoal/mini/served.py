"""A loaded model as the endpoints see it: its name, its template, and how much fits into it."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shoal import __version__
from shoal.core.errors import Fault
from shoal.mini.dialect import make_context_fault
from shoal.mini.engine import BadGrammar, Embedder, Engine
from shoal.mini.template import ChatTemplate, TooLong

if TYPE_CHECKING:
    from shoal.mini.heads import Head

_LONGEST_TURN, _LONGEST_QUEUE = 32, 2048  # texts

_QUICK_BYTES = 8 * 1024  # a request up to this size is encoded in the event loop, where it takes a few milliseconds at most

T = TypeVar("T")


class ServedChat:
    """A generative model. `template` is None when the model has none: it completes, but does not chat."""

    def __init__(self, name: str, engine: Engine) -> None:
        """Compile the model's template. Raises ValueError when that is not valid."""
        self.name, self.engine = name, engine
        tokenizer = engine.tokenizer
        self.template = ChatTemplate(engine.chat_template, tokenizer, engine.named_tokens) if engine.chat_template else None
        self.fingerprint = _fingerprint(name, engine.chat_template)

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.engine.capabilities.context_tokens

    def fit(self, prompt_tokens: int, wanted: int | None, param: str) -> int:
        """How many tokens the answer may have. Raises Fault when `wanted` do not fit behind the prompt."""
        room = self.context_tokens - prompt_tokens
        if wanted is not None and wanted > room:
            raise make_context_fault(param, f"{prompt_tokens} tokens", wanted, self.context_tokens)
        return room if wanted is None else wanted

    async def check_schema(self, schema: str, param: str) -> None:
        """Compile a JSON schema before any run depends on it. Raises Fault naming `param`."""
        if not self.engine.capabilities.json_schema:
            raise Fault("unsupported_parameter", f"This model cannot be held to a JSON schema; leave '{param}' out.", param=param)
        try:
            await asyncio.to_thread(self.engine.check, schema)
        except BadGrammar as error:
            raise Fault("invalid_value", f"Invalid '{param}': this schema cannot be enforced: {error}", param=param) from None


class ServedEmbedder:
    """A sentence model. Requests take turns, a batch at a time, so that a large one does not keep the others waiting."""

    def __init__(self, name: str, embedder: Embedder) -> None:
        self.name, self.embedder = name, embedder
        self.turn = asyncio.Lock()


class Labelled(msgspec.Struct, frozen=True):
    """What a head answers to a text, how probable it is that this is right, and how many tokens were read."""

    answer: str
    probability: float
    tokens: int


class HeadTurns:
    """Where heads wait for the sentence model: all that came while it was busy is answered in its next turn."""

    def __init__(self, model: ServedEmbedder) -> None:
        self.model = model
        self._waiting: list[tuple[Head, str, asyncio.Future[Labelled]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def ask(self, head: "Head", text: str) -> Labelled:
        """What `head` says of a text. Raises Fault rate_limited when too many wait."""
        if len(self._waiting) >= _LONGEST_QUEUE:
            raise Fault("rate_limited", "The model's queue is full; try again in a second.", retry_after_s=1)
        answer: asyncio.Future[Labelled] = asyncio.get_running_loop().create_future()
        self._waiting.append((head, text, answer))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.get_running_loop().create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            async with self.model.turn:
                batch, self._waiting = self._waiting[:_LONGEST_TURN], self._waiting[_LONGEST_TURN:]
                batch = [one for one in batch if not one[2].done()]  # whoever was called off has left
                said = await asyncio.to_thread(self._answer, [(head, text) for head, text, _ in batch])
            for (_, _, answer), one in zip(batch, said, strict=True):
                if answer.done():
                    continue
                if isinstance(one, Labelled):
                    answer.set_result(one)
                else:
                    answer.set_exception(one)

    def _answer(self, asked: "Sequence[tuple[Head, str]]") -> list[Labelled | Exception]:
        """In a thread: one head after the other. A head that fails does so for those who asked it."""
        from shoal.mini.heads import embed_with

        embedder = self.model.embedder
        embed = embed_with(embedder)
        said: list[Labelled | Exception] = [Fault("internal", "The model failed on this request.")] * len(asked)
        for head in dict.fromkeys(head for head, _ in asked):
            places = [i for i, (one, _) in enumerate(asked) if one is head]
            texts = [asked[i][1] for i in places]
            try:
                for i, text, (answer, probability) in zip(places, texts, head.answer(texts, embed), strict=True):
                    said[i] = Labelled(answer, probability, len(embedder.encode(text)))
            except Exception as error:  # supervised: a student is made by others, and must not end more than its own answers
                for i in places:
                    said[i] = Fault("internal", f"The model failed on this request: {error}")
        return said


class ServedHead:
    """A head: it answers from a closed set."""

    def __init__(self, name: str, head: "Head", turns: HeadTurns) -> None:
        self.name, self.head = name, head
        self._turns = turns
        self.fingerprint = _fingerprint(name, "")

    @property
    def embedder(self) -> Embedder:
        """The sentence model, whose tokens are counted."""
        return self._turns.model.embedder

    @property
    def context_tokens(self) -> int:
        """Tokens of a text that the sentence model looks at."""
        return self.embedder.context_tokens

    async def ask(self, text: str) -> Labelled:
        """What it says of a text. Raises Fault."""
        return await self._turns.ask(self.head, text)


def _fingerprint(name: str, template: str) -> str:
    return "fp_" + hashlib.sha256(f"{__version__} {name} {template}".encode()).hexdigest()[:10]


async def encode_fitting(work: Callable[[], T], size: int, param: str, limit: int) -> T:
    """Run `work`, which encodes text from a request of `size` bytes, aside from the event loop if it is large; TooLong becomes a Fault."""
    try:
        return work() if size <= _QUICK_BYTES else await asyncio.to_thread(work)
    except TooLong as error:
        raise make_context_fault(param, str(error), None, limit) from None
    except RecursionError:
        raise Fault("invalid_value", f"'{param}' is nested too deeply; send a flatter one.", param=param) from None
