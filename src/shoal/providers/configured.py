"""The deployments that the configuration's [models] names, with what is said there put over what is known."""

from collections.abc import Mapping

import msgspec

from shoal.core.models import Deployment
from shoal.core.money import Price, Tier, pico_per_token
from shoal.providers.abilities import adjust
from shoal.providers.minnow import PROVIDER
from shoal.providers.offers import Offers
from shoal.providers.options import DeploymentSettings, ModelSettings, PriceSettings, TierSettings


def priced_like(models: Mapping[str, ModelSettings]) -> list[str]:
    """The models whose prices are asked for by `price_like`."""
    return sorted({one.price_like for model in models.values() for one in model.deployments if one.price_like})


def make_deployment(
    name: str, number: int, said: DeploymentSettings, offers: Offers, like: Mapping[str, Price | str], local: Mapping[str, Deployment]
) -> Deployment:
    """The deployment `number` of the model `name`. `like` are the prices of `price_like`, `local` the models of the process beside us."""
    upstream_model = said.model or name
    known = local.get(upstream_model) if said.provider == PROVIDER else None
    known = known or offers.deployment(said.provider, upstream_model, name)
    capabilities = adjust(known.capabilities, said.has or (), said.lacks or (), said.prefill)
    changes = {"id": f"{name}#{number}", "model": name, "weight": said.weight, "capabilities": capabilities, **_overrides(said, like)}
    return msgspec.structs.replace(known, **changes)


def _overrides(said: DeploymentSettings, like: Mapping[str, Price | str]) -> dict[str, object]:
    changes = {key: getattr(said, key) for key in ("context_tokens", "max_output_tokens", "region", "quantization")}
    if said.price is not None:
        changes["price"] = price_of(said.price)
    elif said.price_like is not None:
        found = like.get(said.price_like)
        changes["price"] = found if isinstance(found, Price) else None
    return {key: value for key, value in changes.items() if value is not None or (key == "price" and said.price_like)}


def price_of(said: PriceSettings) -> Price:
    """Pico-USD a token from the configuration's USD a million. A rate that is not given is not known."""
    tiers = tuple(Tier(one.above, *_rates(one)) for one in sorted(said.tiers, key=lambda tier: tier.above))
    plain = _rates(said)
    named = {name.lower(): price_of(one) for name, one in (said.service_tiers or {}).items()}
    return Price(*plain[:4], tiers=tiers, cache_write_1h_pico=plain[4], service_tiers=named)


def _rates(said: PriceSettings | TierSettings) -> tuple[int, int, int | None, int | None, int | None]:
    read, written, longer = (
        None if one is None else pico_per_token(one) for one in (said.cache_read, said.cache_write, said.cache_write_1h)
    )
    return pico_per_token(said.input), pico_per_token(said.output), read, written, longer
