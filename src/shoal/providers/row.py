"""A provider is data: one TOML file in rows/, of the shape that `Row` has. The structs are the schema; what they do not name is an error.

Paths begin with "/" and stand below the base URL; one that begins with "root:/" stands at the server's root. `{names}` in a base URL,
a path or a default are the row's `values`; `{model}` in a path is the model's name, filled in for every call. A row that is not so is found
when it is read, with its line.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec

from shoal.core.toml_lines import dotted, explain, place

OnDisconnect = Literal["stops", "stops_streams", "goes_on"]
"""https://openrouter.ai/docs/api-reference/streaming lists who stops and who goes on; the servers of one's own stop."""

DialectName = Literal["openai_chat", "openai_responses", "anthropic", "gemini", "bedrock", "cohere"]
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "aws", "google", "none"]
Endpoint = Literal["chat", "completions", "embeddings", "rerank", "models", "responses"]
Ability = Literal["tools", "json_schema", "json_object", "images", "files", "audio", "reasoning", "logprobs", "logit_bias"]
Globs = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
Path = Annotated[str, msgspec.Meta(pattern=r"^(root:)?/")]
Address = Annotated[str, msgspec.Meta(pattern=r"^https://")]
_HERE = r"http://(127\.0\.0\.1|localhost)(:\d+)?(/|$)"
_BASE_URL = re.compile(rf"(https://[^/\s?#@]+(/|$)|\{{\w+\}}|unix:\{{\w+\}}|{_HERE})[^\s?#@]*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an address, or of a credential: from the configuration, else from the first of `env` that is set, else `default`.

    `by_region` has other defaults for regions (globs, the first that matches counts); `region` stands before it in the row. `optional`
    may be missing; a `credential` is needed only where there is no API key, and is never shown; a `url` may lack its scheme.
    """

    env: tuple[str, ...] = ()
    default: str | None = None
    by_region: dict[str, str] = {}
    optional: bool = False
    credential: bool = False
    url: bool = False


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in which a provider may differ from its dialect: members of the request's body renamed, dropped, or added when absent,
    and fixed headers. Anything else is a dialect of its own."""

    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    default: dict[str, Any] = {}
    header: dict[str, str] = {}


class RateLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the headers that tell how much is left.

    `reset` is the form of the times in them: duration (6m12s, 12ms), seconds, timestamp (RFC 3339), unix_s or unix_ms.
    """

    requests_limit: str | None = None
    requests_remaining: str | None = None
    requests_reset: str | None = None
    tokens_limit: str | None = None
    tokens_remaining: str | None = None
    tokens_reset: str | None = None
    reset: Literal["duration", "seconds", "timestamp", "unix_s", "unix_ms"] = "duration"


class Prefill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to let a model go on from a given beginning: the conversation's last message is the assistant's, with the members of `message`
    added to it, those of `body` to the request, which goes to `path` where that differs. Only `models` (globs) can do it."""

    message: dict[str, Any] = {}
    body: dict[str, Any] = {}
    path: Path | None = None
    models: Globs = ("*",)
    excepted: tuple[str, ...] = ()


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of all models whose names match one of the globs of `match` (without the part before the last slash, in lower case)."""

    match: Globs
    has: tuple[Ability, ...] = ()
    lacks: tuple[Ability, ...] = ()
    dialect: DialectName | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One provider. `docs` is the address of the documentation that the row was written from.

    `api_key_env` lists the names its key goes by: the first that is set counts; `auth_with_key` is how the key is sent where `auth` is a
    signature. `local` servers need no key and are asked only when configured. `makes` are globs of the models that it is the home of.
    `prices` is the provider's id in genai-prices; `listed` are globs of the ids there that it can be taken to serve, `listed_as` how their
    beginnings are written in its own API, all of it in lower case where `listed_lower`. `on_disconnect` is what it does, and charges, when
    whoever asked hangs up: it stops; it stops where it streams (and makes a whole answer to its end); or it goes on. `collects_data` and
    `zero_retention` are what its terms (`terms`) say by default. None is not documented.
    `stream_paths` are those of `paths` that differ where the answer shall be a stream.
    """

    title: str
    docs: Address
    dialect: DialectName
    base_url: str
    auth: Auth = "bearer"
    auth_with_key: Auth | None = None
    api_key_env: tuple[str, ...] = ()
    local: bool = False
    makes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ("*",)
    listed_as: dict[str, str] = {}
    listed_lower: bool = False
    values: dict[str, Value] = {}
    endpoints: tuple[Endpoint, ...] = ("chat", "models")
    paths: dict[Endpoint, Path] = {}
    stream_paths: dict[Endpoint, Path] = {}
    quirks: Quirks = Quirks()
    rate_limits: RateLimits = RateLimits()
    prices: str | None = None
    prefill: Prefill | None = None
    discover: bool = True
    lacks: tuple[Ability, ...] = ()
    families: tuple[Family, ...] = ()
    collects_data: bool | None = None
    zero_retention: bool | None = None
    terms: Address | None = None
    on_disconnect: OnDisconnect | None = None


class BadRow(ValueError):
    """A row that is not of the shape of Row; the message names the file and the line, or the provider, the key and the fault."""


def read_row(text: str, name: str) -> Row:
    """One row from its TOML text. Errors: BadRow."""
    file = f"{name}.toml"
    try:
        row = msgspec.convert(tomllib.loads(text), Row)
    except tomllib.TOMLDecodeError as error:
        raise BadRow(f"{file}: {error}") from None  # it says the line itself
    except msgspec.ValidationError as error:
        what, keys = explain(str(error))
        raise BadRow(f"{place(file, text, keys)}: {dotted(keys)}{what}") from None
    for keys, what in _contradictions(row):
        raise BadRow(f"{place(file, text, keys)}: {dotted(keys)}{what}")
    return row


def _contradictions(row: Row) -> Iterator[tuple[list[str], str]]:
    """What the structs alone cannot see: the keys, and what is wrong there."""
    if not _BASE_URL.fullmatch(row.base_url):
        yield ["base_url"], "must be https://host/path, without credentials or a query, or begin with one of the row's values in braces"
    texts: dict[tuple[str, ...], str] = {("base_url",): row.base_url}
    texts |= {("paths", name): path for name, path in row.paths.items()}
    texts |= {("stream_paths", name): path for name, path in row.stream_paths.items()}
    for name, value in row.values.items():
        texts |= {("values", name): " ".join([value.default or "", *value.by_region.values()])}
    texts |= {("listed_as", name): new for name, new in row.listed_as.items()}
    for keys, text in texts.items():
        for one in _PLACEHOLDER.findall(text):
            if one not in row.values and (one, keys[0]) not in (("model", "paths"), ("model", "stream_paths")):
                yield [*keys], f"{{{one}}} is none of the row's values"
    for name in row.paths:
        if name not in row.endpoints:
            yield ["paths", name], "is none of the row's endpoints"
    for name in row.stream_paths:
        if name not in row.paths:
            yield ["stream_paths", name], "is none of the row's paths"
    if row.discover and "models" not in row.endpoints:
        yield ["endpoints"], "'models' is missing, which is asked for; add it, or discover = false"
    both = {*row.quirks.drop} & {*row.quirks.rename, *row.quirks.rename.values(), *row.quirks.default}
    if both:
        yield ["quirks", "drop"], f"{min(both)!r} is renamed or added, too"


@functools.cache
def read_rows() -> Mapping[str, Row]:
    """Every row that comes with Shoal, by the provider's name. Errors: BadRow."""
    found = (file for file in files("shoal.providers").joinpath("rows").iterdir() if file.name.endswith(".toml"))
    names = {file.name.removesuffix(".toml"): file for file in found}
    return {name: read_row(names[name].read_text("utf-8"), name) for name in sorted(names)}
