"""A loaded model as the endpoints see it: its name, its template, and how much fits into it."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

from shoal import __version__
from shoal.core.errors import Fault
from shoal.mini.dialect import make_context_fault
from shoal.mini.engine import BadGrammar, Embedder, Engine
from shoal.mini.template import ChatTemplate, TooLong

_QUICK_BYTES = 8 * 1024  # a request up to this size is encoded in the event loop, where it takes a few milliseconds at most

T = TypeVar("T")


class ServedChat:
    """A generative model. `template` is None when the model has none: it completes, but does not chat."""

    def __init__(self, name: str, engine: Engine) -> None:
        """Compile the model's template. Raises ValueError when that is not valid."""
        self.name, self.engine = name, engine
        tokenizer = engine.tokenizer
        self.template = ChatTemplate(engine.chat_template, tokenizer, engine.named_tokens) if engine.chat_template else None
        self.fingerprint = "fp_" + hashlib.sha256(f"{__version__} {name} {engine.chat_template}".encode()).hexdigest()[:10]

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


async def encode_fitting(work: Callable[[], T], size: int, param: str, limit: int) -> T:
    """Run `work`, which encodes text from a request of `size` bytes, aside from the event loop if it is large; TooLong becomes a Fault."""
    try:
        return work() if size <= _QUICK_BYTES else await asyncio.to_thread(work)
    except TooLong as error:
        raise make_context_fault(param, str(error), None, limit) from None
    except RecursionError:
        raise Fault("invalid_value", f"'{param}' is nested too deeply; send a flatter one.", param=param) from None
