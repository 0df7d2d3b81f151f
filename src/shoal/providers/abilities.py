"""What a model can do, how long it may read and write, and what it speaks: from its family, its provider's row, and what that says of it.

A model's name is compared without the part before its last slash, in lower case. What nobody knows is None: unknown, not refused.
"""

import functools
import re
import tomllib
from collections.abc import Iterable, Sequence
from fnmatch import translate
from importlib.resources import files

import msgspec

from shoal.core.models import Capabilities
from shoal.providers.row import Family, Row


class Traits(msgspec.Struct, frozen=True):
    """What is known of one model at one provider."""

    capabilities: Capabilities
    dialect: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@functools.cache
def read_families() -> tuple[Family, ...]:
    """The families that come with Shoal, in their order."""

    class File(msgspec.Struct, forbid_unknown_fields=True):
        families: tuple[Family, ...]

    text = files("shoal.providers").joinpath("families.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), File).families


def short_name(model: str) -> str:
    """The name that families are compared with."""
    return model.rpartition("/")[2].lower()


def traits_of(model: str, row: Row) -> Traits:
    """What is known of a model, by the name its provider has for it. What the row says of the whole provider has the last word."""
    name = plain_name(model) if row.dialect == "bedrock" else short_name(model)
    abilities: dict[str, bool] = {}
    dialect: str = row.dialect
    context: int | None = None
    output: int | None = None
    for family in (*read_families(), *row.families):
        if matches(name, family.match):
            abilities.update(dict.fromkeys(family.has, True))
            abilities.update(dict.fromkeys(family.lacks, False))
            dialect = family.dialect or dialect
            context = family.context_tokens or context
            output = family.max_output_tokens or output
    abilities.update(dict.fromkeys(row.lacks, False))
    prefill = row.prefill is not None and matches(name, row.prefill.models) and not matches(name, row.prefill.excepted)
    return Traits(Capabilities(**abilities, prefill=prefill), dialect, context, output)


def adjust(capabilities: Capabilities, has: Iterable[str], lacks: Iterable[str], prefill: bool | None = None) -> Capabilities:
    """Capabilities with some of them known better."""
    changes: dict[str, bool] = dict.fromkeys(has, True) | dict.fromkeys(lacks, False)
    if prefill is not None:
        changes["prefill"] = prefill
    return msgspec.structs.replace(capabilities, **changes) if changes else capabilities


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a name matches one of the globs."""
    return _pattern(tuple(globs)).match(name) is not None


@functools.cache
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or r"(?!)")


# Bedrock's ids: https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
_MAKER = re.compile(r"^(?:(?:global|regional|us|us-gov|eu|apac|jp|au|ca)\.)?[a-z][a-z0-9]*\.(?=[a-z])")
_EDITION = re.compile(r"-v\d+(?::\d+)?$|-\d+:\d+$")


def plain_name(model: str) -> str:
    """A model's name without where it is served and by whom it was made: us.anthropic.claude-opus-4-1-20250805-v1:0 and
    anthropic/claude-opus-4.1-20250805 are both claude-opus-4-1-20250805, as far as Bedrock's part of the name goes."""
    name, found = _MAKER.subn("", short_name(model))
    return _EDITION.sub("", name) if found else name


def common_name(model: str) -> str:
    """The name that is the same for one model wherever it is served: plain, with dashes for dots."""
    return plain_name(model).replace(".", "-")
