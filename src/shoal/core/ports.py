"""What the other packages must offer to the gateway and to policies: every Protocol between layers."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from shoal.core.answer import Answer, Delta
from shoal.core.attempt import Outcome, Try
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.http import HttpCall
from shoal.core.identity import Principal
from shoal.core.ledger import Entry
from shoal.core.models import Deployment
from shoal.core.usage import Usage


class View(Protocol):
    """What a policy may know of the world while it plans. Nothing here blocks, and nothing changes by being asked."""

    @property
    def session(self) -> str | None:
        """What a caller named to stay with the same deployment: its prompt cache is warm."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's own labels."""

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of output that the caller allows; None where it did not say."""

    def uniform(self, key: str) -> float:
        """A number in [0, 1) that depends on the request and `key` alone, so that a plan can be repeated."""

    def health(self, deployment: Deployment) -> Health:
        """How a deployment has done of late."""

    def tokens(self) -> int:
        """The request's input in tokens, counted or estimated (counted when first asked for)."""

    def may_hedge(self) -> bool:
        """Whether the budget for second tries beside a running one has room."""


class Policy(Protocol):
    """Who is asked, in which order: a pure generator. It ends after Answered, and never repeats a deployment that it was told to leave."""

    def plan(self, candidates: Sequence[Deployment], view: View) -> Generator[Try | None, Outcome, None]:
        """Tries, each answered by its Outcome; None waits for the tries that run. It does not end while one runs, except after Answered.

        Errors: Fault, before the first Try, when there is nobody to ask.
        """


class Ledger(Protocol):
    """Where a settled request is written before its last byte leaves."""

    def append(self, entry: Entry) -> None:
        """Write one entry. Errors: Fault overloaded when it could not be; the request must then not succeed."""


class Keys(Protocol):
    """The holders of keys, known in memory."""

    def find(self, digest: bytes) -> Principal | None:
        """The holder of the key with this SHA-256 digest."""

    def find_admin(self, digest: bytes) -> Principal | None:
        """The same, of a key for administration, which opens nothing else."""

    def ask(self, digest: bytes) -> object:
        """Begin to ask the store about a key, for `look_up`."""

    def is_asked(self, digest: bytes) -> bool:
        """Whether the store is being asked about this key."""

    async def look_up(self, digest: bytes) -> Principal | None:
        """As `find`, asking the store about a key that memory does not know yet; rate-limited."""


class Catalogue(Protocol):
    """Which deployments a model's name stands for."""

    def resolve(self, model: str, org_id: str = "") -> Sequence[Deployment]:
        """Deployments that can answer an organisation, best first. Errors: Fault model_not_found, with the nearest names that it knows."""

    def lists(self, model: str, org_id: str = "") -> bool:
        """Whether a model that the organisation knows goes by this very name."""

    async def look(self, names: Iterable[str]) -> None:
        """Look again where one of these names may be of a model that has come a moment ago."""


class AnswerReader(Protocol):
    """An upstream's streamed answer, bytes to deltas; the bytes may be cut anywhere.

    `failed` is the fault that broke it; where deltas came before it in the same bytes, they are given first, and the next call raises it.
    `whole`: the answer is complete, and what may follow are counts.
    """

    failed: Fault | None
    whole: bool

    def feed(self, data: bytes) -> list[Delta]:
        """What these bytes complete. Errors: Fault, for an error event (its own kind) or what cannot be read (upstream_garbled)."""

    def close(self) -> list[Delta]:
        """The body has ended. Errors: Fault upstream_cut when the answer was not complete."""


class AnswerWriter(Protocol):
    """A streamed answer for a caller, deltas to bytes. What ends the stream is held back until `close`, since it tells what was used."""

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Bytes to send now; may be empty."""

    def close(self, cost: str | None, receipt: bytes) -> bytes:
        """The end: usage with its cost (a JSON number, None unknown), the receipt (a JSON object), and the dialect's last event."""


class UpstreamDialect(Protocol):
    """What an upstream speaks. Pure."""

    def encode(self, conversation: Conversation, deployment: Deployment) -> HttpCall:
        """The call that asks this. Errors: Fault unsupported_parameter naming what the dialect cannot say and must not leave out."""

    def answer(self, body: bytes, conversation: Conversation) -> Answer:
        """A whole answer. Errors: Fault upstream_garbled, or the kind of an error that hides in a success."""

    def stream(self, conversation: Conversation) -> AnswerReader:
        """A reader for one streamed answer."""

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means. Kinds come from status and code, never from the words of a message."""


class CallerDialect(Protocol):
    """What a caller speaks. Pure."""

    def read(self, body: bytes) -> Conversation:
        """The whole request, checked. Errors: Fault naming the parameter."""

    def answer(self, answer: Answer, cost: str | None, receipt: bytes) -> bytes:
        """A whole answer's body, with `cost` at the end of its usage and `shoal` (the receipt, a JSON object) at its own end."""

    def stream(self, conversation: Conversation) -> AnswerWriter:
        """A writer for one streamed answer."""

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        """An error answer's body, in the dialect's own shape, with `shoal` at its end (`receipt` may be b"null")."""

    def error_event(self, fault: Fault, receipt: bytes) -> bytes:
        """The one event that ends a broken stream."""


class Passage(Protocol):
    """A streamed answer on its way from upstream to caller. `whole`: it is complete, and what may follow are counts."""

    done: bool
    failed: Fault | None
    whole: bool

    def feed(self, data: bytes) -> bytes:
        """Bytes for the caller. Errors: Fault. An error event of the upstream sets `failed`; nothing comes after it."""

    def close(self) -> bytes:
        """What ends the stream. Errors: Fault upstream_cut when the answer was not complete."""


class Settle(Protocol):
    """Charges and writes the receipt, once, when an answer is whole."""

    def __call__(self, usage: Usage | None) -> tuple[str | None, bytes]:
        """The cost (a JSON number, None unknown) and the receipt (a JSON object)."""


class Forward(Protocol):
    """Caller and upstream speak the same dialect: bytes stay as they are, but for what must change and the two insertions. Pure."""

    def encode(self, request: Any, deployment: Deployment) -> HttpCall:
        """The caller's own body, spliced: the model's name, and whatever makes the upstream report its usage."""

    def complete(self, request: Any, body: bytes, settle: Settle) -> bytes:
        """A whole answer with its insertions. Errors: Fault."""

    def stream(self, request: Any, settle: Settle) -> Passage:
        """A streamed answer, forwarded event by event."""
