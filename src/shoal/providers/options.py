"""What an operator may say of providers and models, in the configuration's own words. The settings are made of these structs."""

from typing import Annotated, Any

import msgspec

from shoal.providers.row import Ability, Auth, DialectName, Endpoint, Globs, OnDisconnect, Path

Positive = Annotated[int, msgspec.Meta(ge=1)]
Usd = Annotated[float, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class TimeoutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait for an upstream: for a connection, the first byte, between two bytes, in all."""

    connect_s: Seconds = 10.0
    first_byte_s: Seconds = 300.0
    idle_s: Seconds = 120.0
    total_s: Seconds = 1800.0


class QuirkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[providers.NAME.quirks]: added to the row's own."""

    rename: dict[str, str] | None = None
    drop: list[str] | None = None
    default: dict[str, Any] | None = None
    header: dict[str, str] | None = None


class PrefillSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[providers.NAME.prefill]: how its models go on from a given beginning."""

    message: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    path: Path | None = None
    models: Globs | None = None


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[providers.NAME]: overrides the row NAME, or the row that `like` names, or stands alone. None is what the row says."""

    base_url: str | None = None
    like: str | None = None
    dialect: DialectName | None = None
    auth: Auth | None = None
    api_key: str | None = None
    api_keys: list[str] | None = None
    api_key_env: str | list[str] | None = None
    values: dict[str, str] | None = None
    endpoints: list[Endpoint] | None = None
    paths: dict[Endpoint, Path] | None = None
    quirks: QuirkSettings | None = None
    prefill: PrefillSettings | None = None
    prices: str | None = None
    lacks: list[Ability] | None = None
    collects_data: bool | None = None
    zero_retention: bool | None = None
    on_disconnect: OnDisconnect | None = None
    discover: bool | None = None
    enabled: bool = True
    timeouts: TimeoutSettings = TimeoutSettings()
    max_connections: Positive = 4096


class TierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of requests whose input is longer than `above` tokens: USD per million tokens, of all of the request's tokens."""

    above: Positive
    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    tiers: tuple[TierSettings, ...] = ()
    service_tiers: dict[str, "PriceSettings"] | None = None


class DeploymentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to reach a model: `model` is the provider's own name for it (the public name, if left out). None is what is known of it."""

    provider: str
    model: str | None = None
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    price: PriceSettings | None = None
    price_like: str | None = None
    context_tokens: Positive | None = None
    max_output_tokens: Positive | None = None
    has: list[Ability] | None = None
    lacks: list[Ability] | None = None
    prefill: bool | None = None
    region: str | None = None
    quantization: str | None = None


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[models."NAME"]: a public name and the deployments that answer to it, best first."""

    deployments: Annotated[list[DeploymentSettings], msgspec.Meta(min_length=1)]
