"""Watches the local model's process: whether it answers, which models it has loaded, and what a token of it costs.

The price is what the machine costs in an hour over what it does in an hour, at the speeds measured when the weights were prepared.
"""

import asyncio
import time

import msgspec

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.core.models import Capabilities, Deployment
from shoal.core.money import Price
from shoal.providers.channel import Channel

PROVIDER = "minnow"
_PICO_PER_USD = 10**12
_LOADING_S, _SERVING_S = 0.1, 1.0
_LOOK_S = 0.05  # between two looks for a name that is not known
_HEAD = Capabilities(tools=False, images=False, files=False, audio=False, reasoning=False, logit_bias=False)
_CHAT = Capabilities(prefill=True)


class LocalModel(msgspec.Struct, frozen=True):
    """One model that the local process serves; the speeds are tokens a second at full batch. A student has the organisation that it
    belongs to, "" where its files do not tell."""

    id: str
    kind: str = "chat"
    org_id: str | None = None
    created: int = 0
    context_tokens: int | None = None
    decode_tokens_per_s: float | None = None
    prefill_tokens_per_s: float | None = None


class Health(msgspec.Struct, frozen=True):
    """What the local process says of itself."""

    status: str
    models: list[LocalModel] = []
    decode_tokens_per_s: float | None = None
    prefill_tokens_per_s: float | None = None


_health = msgspec.json.Decoder(Health)


def price_of(usd_per_hour: float, decode_per_s: float | None, prefill_per_s: float | None) -> Price | None:
    """Pico-USD a token from USD an hour and tokens a second, at least 1; None while the speed is not measured."""
    if not decode_per_s:
        return None
    pico_per_s = usd_per_hour / 3600 * _PICO_PER_USD
    written = max(1, round(pico_per_s / decode_per_s))
    read = max(1, round(pico_per_s / prefill_per_s)) if prefill_per_s else written
    return Price(input_pico=read, output_pico=written, cache_read_pico=read, cache_write_pico=read)


class Minnow:
    """The local model as the gateway sees it. `ready` and `deployments` follow the process's health."""

    def __init__(self, channel: Channel, usd_per_hour: float) -> None:
        self.channel = channel
        self._usd_per_hour = usd_per_hour
        self.ready = False
        self.models: dict[str, LocalModel] = {}
        self.deployments: dict[str, Deployment] = {}
        self._began = 0.0
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Ask now, however short a time ago it was asked last; all who want that at once share one question."""
        wanted = time.monotonic()
        async with self._looking:
            if self._began <= wanted:
                await asyncio.sleep(max(0.0, self._began + _LOOK_S - time.monotonic()))
                await self.refresh()

    async def follow(self) -> None:
        """Ask for health for ever; often while it is loading."""
        while True:
            await self.refresh()
            await asyncio.sleep(_SERVING_S if self.ready else _LOADING_S)

    async def refresh(self) -> None:
        """Ask once. A process that does not answer is not ready; what it served stays known."""
        self._began = time.monotonic()
        try:
            status, body = await self.channel.get("/health", 5.0, at_root=True)
            health = _health.decode(body) if status == 200 else Health("failing")
        except (Fault, msgspec.MsgspecError):
            self.ready = False
            return
        self.ready = health.status == "ok"
        if self.ready:
            self._take(health)

    def _take(self, health: Health) -> None:
        self.models = {model.id: model for model in health.models}
        deployments = {model.id: self._deployment(model, health) for model in health.models}
        if deployments != self.deployments:  # who looks whether anything has changed looks at its identity
            self.deployments = deployments

    def _deployment(self, model: LocalModel, health: Health) -> Deployment:
        is_head = model.kind == "head"
        return Deployment(
            id=f"{PROVIDER}/{model.id}",
            model=model.id,
            provider=PROVIDER,
            upstream_model=model.id,
            local=True,
            on_disconnect="stops",
            capabilities=_HEAD if is_head else _CHAT,
            endpoints=() if is_head else None,
            org_id=None if model.org_id is None else model.org_id or OPERATOR,
            price=price_of(
                self._usd_per_hour,
                model.decode_tokens_per_s or health.decode_tokens_per_s,
                model.prefill_tokens_per_s or health.prefill_tokens_per_s,
            ),
        )
