"""What an engine must offer to be served: the only thing mini/serve.py knows about the library that runs the model.

An engine batches continuously: `submit` may be called at any time, from the event loop, never blocks, and every answer arrives as
`Piece`s on that loop, through the run's sink. A run ends with exactly one piece whose `finish` is set.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Finish = Literal["stop", "length", "cancelled", "error"]


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do; a request that needs more is refused by name, never served without it."""

    context_tokens: int
    seed: bool = True
    penalties: bool = True
    chosen_logprobs: bool = False
    top_logprobs: int = 0
    logit_bias: bool = False
    json_schema: bool = False
    cached_tokens: bool = False


class Sampling(msgspec.Struct, frozen=True):
    """How to choose tokens. temperature 0 is greedy. `json_schema` is JSON text that the answer must satisfy; `max_tokens` >= 1."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    json_schema: str | None = None
    logprobs: bool = False


class Piece(msgspec.Struct, frozen=True):
    """Newly chosen tokens of one run, in order; `logprobs` (natural log, of the chosen tokens) when asked for.

    `finish` "stop" means the model's own end token, which is not among `tokens`; "error" carries why in `error`.
    """

    tokens: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    finish: Finish | None = None
    error: str | None = None
    cached_tokens: int | None = None


class Full(Exception):
    """The engine's queue is full; try again after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the queue is full, retry after {retry_after_s} s")
        self.retry_after_s = retry_after_s


class BadGrammar(Exception):
    """The schema cannot be compiled into a grammar; the message says why."""


class Run(Protocol):
    """One answer in the making."""

    def cancel(self) -> None:
        """Free the slot at once; the sink gets a last piece with finish "cancelled"."""


class Tokenizer(Protocol):
    """The model's own tokenizer.

    `special_tokens` are the spellings that `encode` turns into control tokens (`<|im_start|>`, ...): template.py breaks them up in what
    callers write. Ids are below `size`.
    """

    special_tokens: Sequence[str]
    size: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered prompt: special tokens in the text are recognised, none are added."""

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The exact bytes of tokens (a token may end inside a UTF-8 sequence); special tokens give no bytes."""


class Engine(Protocol):
    """One loaded generative model. `named_tokens` are what its chat template may ask for by name (`bos_token`, `eos_token`)."""

    capabilities: Capabilities
    tokenizer: Tokenizer
    chat_template: str
    named_tokens: Mapping[str, str]

    def check(self, json_schema: str) -> None:
        """Compile a schema before admission; cached. Raises BadGrammar. May block for some 100 ms: call it in a thread."""

    def submit(self, prompt: Sequence[int], sampling: Sampling, sink: Callable[[Piece], None]) -> Run:
        """Queue one run. Raises Full. The sink is called on the event loop."""

    @property
    def running(self) -> int:
        """Runs that hold a slot."""

    @property
    def waiting(self) -> int:
        """Runs that wait for a slot."""

    def close(self) -> None:
        """Stop the engine's thread and free the model."""


class Embedder(Protocol):
    """A loaded sentence model; token ids are below `size`."""

    dimensions: int
    context_tokens: int
    size: int

    def embed(self, texts: Sequence[Sequence[int]]) -> "list[list[float]]":
        """One unit-length vector per tokenised text. Blocks: call it in a thread."""

    def encode(self, text: str) -> list[int]:
        """Token ids with the model's special tokens, not truncated."""

    def pieces(self, text: str) -> list[str]:
        """A text cut into its tokens, special ones apart: joined, they are the text again."""
