"""Every setting, in one frozen tree: TOML and environment, read and checked once; an error names the key and what to write instead.

The structs are the schema: a key that is not a field here is an error. docs/guide/configuration.md lists them.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import platformdirs

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Usd = Annotated[float, msgspec.Meta(ge=0)]


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
    drain_s: _Seconds = 2.0
    grace_s: _Seconds = 30.0
    tls_cert: str | None = None
    tls_key: str | None = None


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[storage]: where keys and the ledger are kept; the default is a SQLite file under SHOAL_HOME."""

    url: str | None = None


class MiniSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[mini]: the local model."""

    enabled: bool = True
    model: str = "minnow"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    socket: str | None = None
    usd_per_hour: Annotated[float, msgspec.Meta(gt=0)] = 0.10


class TimeoutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait for an upstream: for a connection, the first byte, between two bytes, in all."""

    connect_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    first_byte_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    idle_s: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    total_s: Annotated[float, msgspec.Meta(gt=0)] = 1800.0


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[providers.NAME]: an upstream. Its key comes from `api_key_env`, or `api_key`; servers without keys need neither."""

    base_url: str
    dialect: str = "openai_chat"
    api_key: str | None = None
    api_key_env: str | None = None
    timeouts: TimeoutSettings = TimeoutSettings()
    max_connections: _Positive = 4096
    discover: bool = True


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens."""

    input: _Usd
    output: _Usd
    cache_read: _Usd | None = None
    cache_write: _Usd | None = None


class DeploymentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to reach a model: `model` is the provider's own name for it (the public name, if left out)."""

    provider: str
    model: str | None = None
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    price: PriceSettings | None = None
    price_like: str | None = None


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[models."NAME"]: a public name and the deployments that answer to it, best first."""

    deployments: Annotated[list[DeploymentSettings], msgspec.Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    mini: MiniSettings = MiniSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}


def home() -> Path:
    """SHOAL_HOME, or the platform's data directory."""
    configured = os.environ.get("SHOAL_HOME")
    return Path(configured).expanduser().absolute() if configured else Path(platformdirs.user_data_dir("shoal", appauthor=False))


def load(path: Path | None) -> Settings:
    """Settings from a TOML file, or the defaults. Errors: BadSettings naming file, key and fault."""
    if path is None:
        return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path} is not valid TOML: {error}") from None
    return check(table, str(path))


def check(table: dict[str, Any], source: str) -> Settings:
    """Settings from a decoded table. Errors: BadSettings."""
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise BadSettings(f"{source}: {_readable(str(error))}") from None
    for name, model in settings.models.items():
        for number, deployment in enumerate(model.deployments):
            if deployment.provider not in settings.providers:
                known = ", ".join(sorted(settings.providers)) or "none are configured"
                key = f'models."{name}".deployments[{number}].provider'
                raise BadSettings(f"{source}: {key} names {deployment.provider!r}, which is not under [providers] ({known})")
    for name, provider in settings.providers.items():
        if provider.api_key_env and provider.api_key:
            raise BadSettings(f"{source}: providers.{name} sets both api_key and api_key_env; keep one")
    if bool(settings.server.tls_cert) != bool(settings.server.tls_key):
        raise BadSettings(f"{source}: server.tls_cert and server.tls_key belong together; set both or neither")
    return settings


def _readable(text: str) -> str:
    what, _, where = text.partition(" - at `$")
    key = where.rstrip("`").lstrip(".").replace("[...]", ".*")
    return f"{key}: {what.replace('`', chr(39))}" if key else what.replace("`", "'")
