"""What is known about one set of local weights without opening them: written once when they are prepared, read at every start."""

from pathlib import Path
from typing import Literal

import msgspec

FILE = "model.json"
SPEED_FILE = "speed.json"
JOB_FILE = "job.json"


FORM = 3
"""Which way of preparing weights a card belongs to; weights prepared in an older way are prepared anew."""


class Card(msgspec.Struct, frozen=True):
    """One prepared model. `kind` "chat" generates, "embedding" embeds, "head" labels; `engine` names the module that runs it.

    `source_sha256` is of the file the weights were made from; `stop_tokens` are the model's own end tokens. A student belongs to the
    organisation `org_id`, was made from the model `base` at `made_at` (seconds since 1970); other models are everybody's.
    """

    name: str
    kind: Literal["chat", "embedding", "head"]
    engine: Literal["openvino", "llamacpp", "embedding", "head"]
    context_tokens: int
    license: str = ""
    source: str = ""
    source_sha256: str = ""
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    stop_tokens: tuple[int, ...] = ()
    dimensions: int = 0
    form: int = 0
    org_id: str = ""
    base: str = ""
    made_at: int = 0


class Speed(msgspec.Struct, frozen=True):
    """What this machine made of the model when it was prepared, in tokens per second; the price of a token follows from it."""

    decode_tokens_per_s: float
    prefill_tokens_per_s: float
    streams: int
    threads: int


class Job(msgspec.Struct, frozen=True):
    """What to make: a model's name, where it came from, and the GGUF to start from, in the directory ("": it is in OpenVINO's form)."""

    name: str
    source: str
    gguf: str
    sha256: str
    license: str = ""
    context_tokens: int | None = None


class Report(msgspec.Struct, omit_defaults=True):
    """One line of output."""

    stage: str = ""
    done: int = 0
    total: int = 0
    error: str = ""


def read_card(directory: Path) -> Card:
    """The card of the model in `directory`. Raises OSError if there is none, msgspec.ValidationError if it is damaged."""
    return msgspec.json.decode((directory / FILE).read_bytes(), type=Card)


def write_card(directory: Path, card: Card) -> None:
    """Write the card into `directory`, as of the present form."""
    (directory / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(card, form=FORM))))


def read_speed(directory: Path) -> Speed:
    """The measured speed of the model in `directory`. Raises OSError or msgspec.ValidationError."""
    return msgspec.json.decode((directory / SPEED_FILE).read_bytes(), type=Speed)
