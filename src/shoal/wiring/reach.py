"""What this installation can reach: every provider with its channel, the models they offer, and the local model."""

import os
import time
from collections.abc import Mapping, Sequence

import msgspec

from shoal.providers import registry
from shoal.providers.catalogue import Catalogue
from shoal.providers.channel import Channel, Channels
from shoal.providers.configured import priced_like
from shoal.providers.discovery import Discovery
from shoal.providers.minnow import PROVIDER, Minnow
from shoal.providers.offers import Offers
from shoal.providers.options import ProviderSettings, TimeoutSettings
from shoal.providers.prices import PriceList, ask
from shoal.settings import Settings
from shoal.wiring.signing import find_sign

LOCAL_MODELS = ("minnow", "minnow-embed")


class Reach(msgspec.Struct, frozen=True):
    """The upstreams and what is known of them. `discovery` and `minnow` want to be followed in the background."""

    channels: Channels
    catalogue: Catalogue
    discovery: Discovery
    minnow: Minnow | None
    providers: tuple[str, ...]


async def reach(settings: Settings, mini_socket: str | None, stored_keys: Mapping[str, Sequence[str]]) -> Reach:
    """Everything that the configuration, the environment and the store's keys put within reach."""
    providers = registry.load(settings.providers, os.environ, stored_keys)
    channels = {name: Channel(one, find_sign(one)) for name, one in providers.items() if one.missing is None and name != PROVIDER}
    minnow = _minnow(settings, mini_socket)
    if minnow is not None:
        await minnow.refresh()
    asked = {name: providers[name] for name in channels if providers[name].discover}
    paths = {name: provider.paths["models"] for name, provider in asked.items() if "models" in provider.paths}
    discovery = Discovery({name: channels[name] for name in asked}, paths)
    priced = [price_id for name in channels if (price_id := providers[name].row.prices)]
    known = ask(priced, priced_like(settings.models))
    offers = Offers(providers, {name: PriceList(models) for name, models in known.lists.items()}, discovery, time.time)
    local_names = (*LOCAL_MODELS, settings.mini.model) if minnow else ()
    catalogue = Catalogue(settings.models, known.prices, offers, minnow, local_names, int(time.time()))
    everyone = {**channels, PROVIDER: minnow.channel} if minnow else channels
    return Reach(Channels(everyone), catalogue, discovery, minnow, tuple(everyone))


def _minnow(settings: Settings, mini_socket: str | None) -> Minnow | None:
    if mini_socket is None:
        return None
    where = ProviderSettings(base_url=f"unix:{mini_socket}", timeouts=TimeoutSettings(connect_s=2.0))
    return Minnow(Channel(registry.load({PROVIDER: where}, {})[PROVIDER]), settings.mini.usd_per_hour)
