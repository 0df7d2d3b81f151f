"""Every setting, in one frozen tree: TOML and environment, read and checked once; an error names the key and what to write instead.

The structs are the schema: a key that is not a field here is an error. docs/guide/configuration.md lists them.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs

from shoal.core.toml_lines import dotted, explain, place
from shoal.distil.licences import Override
from shoal.providers.options import DeploymentSettings, ModelSettings, ProviderSettings
from shoal.providers.registry import row_of
from shoal.providers.row import BadRow, read_rows

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class BadSettings(Exception):
    """The configuration cannot be used; the message names the file, the key and what is wrong."""


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[server]: the address and the limits of what callers may do."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8400
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    max_body_bytes: _Positive = 32 * 1024 * 1024
    max_header_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 64 * 1024
    max_connections: _Positive = 10_000
    header_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    body_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    keep_alive_s: Annotated[float, msgspec.Meta(gt=0)] = 75.0
    refusals_per_s: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    trusted_proxies: tuple[str, ...] = ()
    drain_s: _Seconds = 2.0
    grace_s: _Seconds = 30.0
    tls_cert: str | None = None
    tls_key: str | None = None


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[storage]: where keys and the ledger are kept (without a url, an SQLite file under SHOAL_HOME), and the log for how long."""

    url: str | None = None
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | None = None


class CreditsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[credits]: what prepaid money may be used for."""

    unknown_price: Literal["refuse", "allow"] = "refuse"
    stripe_webhook_secret_env: str | None = None


class MiniSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[mini]: the local model."""

    enabled: bool = True
    model: str = "minnow"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    socket: str | None = None
    usd_per_hour: Annotated[float, msgspec.Meta(gt=0)] = 0.10
    students_memory_mb: Annotated[int, msgspec.Meta(ge=0)] = 0


class DistilSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[distil]: what the trainer may use to make students of traffic, and whose answers may teach them, beside those whose terms are known
    to allow it (distil/licences.toml). `max_jobs` is of one project, those that have not ended."""

    enabled: bool = True
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    watts_per_core: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    most_minutes: Annotated[float, msgspec.Meta(gt=0)] = 240.0
    max_jobs: _Positive = 10
    budget_usd: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 10.0
    licence_overrides: tuple[Override, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    credits: CreditsSettings = CreditsSettings()
    mini: MiniSettings = MiniSettings()
    distil: DistilSettings = DistilSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    routes: dict[str, dict[str, Any]] = {}


def home() -> Path:
    """SHOAL_HOME, or the platform's data directory."""
    configured = os.environ.get("SHOAL_HOME")
    return Path(configured).expanduser().absolute() if configured else Path(platformdirs.user_data_dir("shoal", appauthor=False))


def load(path: Path | None) -> Settings:
    """Settings from a TOML file, or the defaults. Errors: BadSettings naming file, line, key and fault."""
    if path is None:
        return Settings()
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise BadSettings(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path} is not valid TOML: {error}") from None
    return check(table, str(path), text)


def check(table: dict[str, Any], source: str, text: str = "") -> Settings:
    """Settings from a decoded table; `text` is the TOML it came from, for the lines of errors. Errors: BadSettings."""
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        what, keys = explain(str(error))
        keys = [_culprit(table, keys[0]) if key == "*" else key for key in keys]
        raise BadSettings(f"{place(source, text, keys)}: {dotted(keys)}{what}") from None
    for keys, what in _contradictions(settings):
        raise BadSettings(f"{place(source, text, keys)}: {dotted(keys)}{what}")
    return settings


def _contradictions(settings: Settings) -> Iterator[tuple[list[str], str]]:
    """What the structs alone cannot see: the keys, and what is wrong there."""
    for name, provider in settings.providers.items():
        if sum(bool(one) for one in (provider.api_key, provider.api_keys, provider.api_key_env)) > 1:
            yield ["providers", name], "api_key, api_keys and api_key_env exclude each other; keep one"
        try:
            row_of(name, provider)
        except BadRow as error:
            yield ["providers", name, *re.findall(rf"^providers\.{re.escape(name)}\.(\w+)", str(error))], str(error).partition(": ")[2]
    for name, model in settings.models.items():
        for number, deployment in enumerate(model.deployments):
            yield from (([*("models", name, "deployments", str(number)), key], what) for key, what in _wrong(deployment, settings))
    for name, route in settings.routes.items():
        if not isinstance(route.get("policy"), str):
            yield ["routes", name, "policy"], "must be there, the name of a policy"
    for proxy in settings.server.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            yield ["server", "trusted_proxies"], f"{proxy!r} is no address and no network, such as 10.0.0.0/8"
    if bool(settings.server.tls_cert) != bool(settings.server.tls_key):
        yield ["server"], "tls_cert and tls_key belong together; set both or neither"


def _wrong(deployment: DeploymentSettings, settings: Settings) -> Iterator[tuple[str, str]]:
    known = {*settings.providers, *read_rows()}
    if deployment.provider not in known:
        mine = ", ".join(sorted(settings.providers)) or "none of your own"
        yield "provider", f"there is no provider {deployment.provider!r}: not under [providers] ({mine}), nor one that Shoal knows"
    if deployment.price is not None and deployment.price_like is not None:
        yield "price_like", "price and price_like exclude each other; keep one"


def _culprit(table: dict[str, Any], section: str) -> str:
    """The name of the table of a section that cannot be read: msgspec does not tell names that are yours to choose."""
    for name, value in table[section].items():
        try:
            msgspec.convert({section: {name: value}}, Settings)
        except msgspec.ValidationError:
            return str(name)
    return "*"
