"""All providers as this installation can reach them: the rows, what the configuration says of them, and the keys that are there.

A provider without its key is known, so that a request for one of its models can be told which variable to set, but is not reachable.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shoal.core.errors import Fault
from shoal.providers.options import ProviderSettings, TimeoutSettings
from shoal.providers.row import Auth, BadRow, Prefill, Quirks, RateLimits, Row, read_rows

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NO_ROW = Row(
    title="",
    docs="https://platform.openai.com/docs/api-reference",
    dialect="openai_chat",
    base_url="",
    endpoints=("chat", "completions", "embeddings", "rerank", "models"),
)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider, ready to be connected to. `base_url` and `paths` are filled, `keys` are all that may be used in turn.

    `missing` names the variable to set where the provider cannot be reached without; `values` holds what `row.values` asks for, the parts
    of a signature's credentials included. `auth` is none where nothing has to be sent.
    """

    name: str
    row: Row
    base_url: str
    auth: Auth
    keys: tuple[str, ...] = ()
    values: Mapping[str, str] = {}
    paths: Mapping[str, str] = {}
    stream_paths: Mapping[str, str] = {}
    timeouts: TimeoutSettings = TimeoutSettings()
    max_connections: int = 4096
    configured: bool = False
    missing: str | None = None

    def __repr__(self) -> str:
        """Without keys and values: a provider may end up in a log."""
        return f"Provider({self.name!r}, {self.base_url!r}, auth={self.auth!r}, keys={len(self.keys)}, missing={self.missing!r})"

    @property
    def dialect(self) -> str:
        """What it speaks."""
        return self.row.dialect

    @property
    def quirks(self) -> Quirks:
        """In what it differs from its dialect."""
        return self.row.quirks

    @property
    def rate_limits(self) -> RateLimits:
        """The headers that tell what is left."""
        return self.row.rate_limits

    @property
    def prefill(self) -> Prefill | None:
        """How its models go on from a given beginning."""
        return self.row.prefill

    @property
    def discover(self) -> bool:
        """Whether it can be asked for its models, and can be reached."""
        return self.row.discover and self.missing is None

    def fault(self) -> Fault:
        """What a request for a model of a provider that cannot be reached is told."""
        return Fault("provider_not_configured", f"The provider {self.name!r} cannot be used yet: {self.missing}.", param="model")


def load(
    configured: Mapping[str, ProviderSettings], environ: Mapping[str, str], stored: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Provider]:
    """Every provider by its name, those that cannot be reached included. `stored` are keys of the store by provider.

    A key of the configuration counts before one of the environment, and that before the store's. Errors: BadRow naming provider and key.
    """
    names = dict.fromkeys([*configured, *read_rows()])
    return {
        name: _provider(name, configured.get(name), environ, tuple((stored or {}).get(name, ())))
        for name in names
        if name not in configured or configured[name].enabled
    }


def row_of(name: str, settings: ProviderSettings | None) -> Row:
    """The row that holds for a name of the configuration, overrides applied. Errors: BadRow."""
    rows = read_rows()
    if settings is None:
        return rows[name]
    if settings.like is not None and settings.like not in rows:
        raise BadRow(f"providers.{name}.like: there is no provider {settings.like!r}; known are {', '.join(rows)}")
    row = rows.get(settings.like or name, _NO_ROW)
    if row is _NO_ROW and settings.base_url is None:
        raise BadRow(f"providers.{name}.base_url: missing; {name!r} is none of the known providers ({', '.join(rows)})")
    said = {key: value for key, value in msgspec.to_builtins(settings).items() if value is not None and key in Row.__struct_fields__}
    said.pop("api_key_env", None)  # a row's names are names of one key, the configuration's are several keys
    return _merge(row, said, name)


def _merge(row: Row, said: dict[str, Any], name: str) -> Row:
    given = {key: value for key, value in said.items() if key not in ("values", "quirks", "prefill", "paths", "lacks")}
    changed = msgspec.to_builtins(row)
    changed |= given
    changed["paths"] = changed["paths"] | said.get("paths", {})
    changed["lacks"] = [*dict.fromkeys([*changed["lacks"], *said.get("lacks", ())])]
    changed["title"] = changed["title"] or name
    for value in said.get("values", {}):
        changed["values"].setdefault(value, {})
    for key, value in said.get("quirks", {}).items():
        if value is not None:
            own = changed["quirks"][key]
            changed["quirks"][key] = own | value if isinstance(own, dict) else [*own, *value]
    if "prefill" in said:
        changed["prefill"] = (changed["prefill"] or {}) | {key: value for key, value in said["prefill"].items() if value is not None}
    try:
        return msgspec.convert(changed, Row)
    except msgspec.ValidationError as error:
        raise BadRow(f"providers.{name}: {error}") from None


def _provider(name: str, settings: ProviderSettings | None, environ: Mapping[str, str], stored: tuple[str, ...]) -> Provider:
    row = row_of(name, settings)
    said = settings or ProviderSettings()
    keys = _keys(row, said, environ) or stored
    values = _values(row, said.values or {}, environ)
    unset = _unset(row, values, bool(keys))
    nothing_to_prove = _is_loopback(row.base_url) and not said.api_key_env
    missing = None
    if row.local and settings is None:
        named = [variable for value in row.values.values() for variable in value.env if environ.get(variable)]
        missing = None if named else _how_to_activate(name, row)
    elif not nothing_to_prove:
        missing = _missing(row, said, keys, unset)
    auth = row.auth
    if keys and row.auth_with_key:
        auth = row.auth_with_key
    elif not keys and (auth in ("bearer", "x-api-key", "x-goog-api-key", "api-key") or (unset and nothing_to_prove)):
        auth = "none"
    return Provider(
        name=name,
        row=row,
        base_url=_fill(row.base_url, values).rstrip("/"),
        auth=auth,
        keys=keys,
        values=values,
        paths={endpoint: _fill(path, values) for endpoint, path in row.paths.items()},
        stream_paths={endpoint: _fill(path, values) for endpoint, path in row.stream_paths.items()},
        timeouts=said.timeouts,
        max_connections=said.max_connections,
        configured=settings is not None,
        missing=missing,
    )


def _keys(row: Row, said: ProviderSettings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The configured keys, all of them; else those of the variables the configuration names; else the first of the row's variables."""
    given = [*([said.api_key] if said.api_key else ()), *(said.api_keys or ())]
    if said.api_key_env is not None:
        names = [said.api_key_env] if isinstance(said.api_key_env, str) else said.api_key_env
        given += [environ[name] for name in names if environ.get(name)]
        return tuple(given)
    return tuple(given) or tuple(environ[name] for name in row.api_key_env if environ.get(name))[:1]


def _values(row: Row, said: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What is known of the row's values, one filled into another."""
    found: dict[str, str] = {}
    for name, value in row.values.items():
        region = found.get("region", "")
        default = next((text for glob, text in value.by_region.items() if fnmatchcase(region, glob)), value.default)
        text = said.get(name) or next((environ[one] for one in value.env if environ.get(one)), None) or default
        if text is not None:
            found[name] = _as_url(text) if value.url else text
    return {name: _fill(text, found) for name, text in found.items()}


def _unset(row: Row, values: Mapping[str, str], has_key: bool) -> list[str]:
    """The variables that are needed and not set, those of one value (or of what it is made of) joined by "or"."""
    groups = [[name, *_PLACEHOLDER.findall(values.get(name, row.values[name].default or ""))] for name in _asked(row)]
    groups += [[name] for name, value in row.values.items() if value.credential and not value.optional and not has_key]
    missing = [group for group in groups if any(name not in values for name in group)]
    return [" or ".join(variable for name in group for variable in row.values[name].env) or f"values.{group[-1]}" for group in missing]


def _asked(row: Row) -> list[str]:
    """The values that the address and the paths ask for."""
    asked = _PLACEHOLDER.findall(" ".join([row.base_url, *row.paths.values(), *row.stream_paths.values()]))
    return [name for name in dict.fromkeys(asked) if name in row.values]


def _missing(row: Row, said: ProviderSettings, keys: tuple[str, ...], unset: list[str]) -> str | None:
    """Which variables to set, in words for whoever asked; None when everything needed is there."""
    signed = row.auth in ("aws", "google")
    if said.api_key_env is not None and not keys:
        wanted = [" or ".join([said.api_key_env] if isinstance(said.api_key_env, str) else said.api_key_env)]
    else:
        wanted = [] if keys or row.local or signed or not row.api_key_env else [" or ".join(row.api_key_env)]
    wanted += unset
    if not wanted:
        return None
    instead = f" (a key in {row.api_key_env[0]} will do, too)" if signed and row.api_key_env and not keys else ""
    return f"set {' and '.join(wanted)} in the environment{instead} and restart"


def _how_to_activate(name: str, row: Row) -> str:
    variables = [variable for value in row.values.values() for variable in value.env]
    return " or ".join([f"add [providers.{name}] to the configuration", *(f"set {variable}" for variable in variables)]) + ", and restart"


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def _as_url(text: str) -> str:
    """An address that may lack its scheme, as OLLAMA_HOST does; one to listen on everywhere is reached on the loopback."""
    url = text if "://" in text else f"http://{text}"
    return url.replace("//0.0.0.0", "//127.0.0.1").rstrip("/")


def _is_loopback(base_url: str) -> bool:
    if base_url.startswith("unix:"):
        return True
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
