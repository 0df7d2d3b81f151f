"""Asks upstreams which models they serve (`GET /models`), so that a server needs nothing but its address in the configuration."""

import asyncio
import logging

import msgspec

from shoal.core.errors import Fault
from shoal.providers.channel import Channel

log = logging.getLogger("shoal.providers")

_EVERY_S = 60.0
_RETRY_S = 2.0
_TIMEOUT_S = 10.0


class _Model(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Model]


_list = msgspec.json.Decoder(_List)


class Discovery:
    """What each upstream says it serves: `models` maps a provider's name to model ids."""

    def __init__(self, channels: dict[str, Channel]) -> None:
        self._channels = channels
        self.models: dict[str, tuple[str, ...]] = {}
        self._silent: set[str] = set()

    async def follow(self) -> None:
        """Ask everyone for ever; the silent ones sooner."""
        while True:
            await asyncio.gather(*(self.ask(name) for name in self._channels))
            await asyncio.sleep(_RETRY_S if self._silent else _EVERY_S)

    async def ask(self, provider: str) -> None:
        """Ask one upstream. One that cannot say keeps what was known; its models are still reached as provider/model."""
        try:
            status, body = await self._channels[provider].get("/models", _TIMEOUT_S)
            if status != 200:
                raise Fault("upstream_error", f"status {status}")
            self.models[provider] = tuple(model.id for model in _list.decode(body).data)
            self._silent.discard(provider)
        except (Fault, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if provider not in self._silent:
                log.warning("the provider %s does not list its models (%s); they are reached as %s/MODEL", provider, error, provider)
            self._silent.add(provider)
