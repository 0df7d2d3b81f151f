"""Which deployments a model's name stands for.

In this order: a name of the configuration, a model of the local process, `provider/model` exactly, and a bare name that some upstream
says it serves. A name that is none of these is answered with the nearest ones.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.providers.discovery import Discovery
from shoal.providers.minnow import PROVIDER, Minnow


class Catalogue:
    """Names and what they stand for, as configured, as discovered, and as the local process has loaded."""

    def __init__(
        self,
        configured: Mapping[str, Sequence[Deployment]],
        providers: Sequence[str],
        discovery: Discovery,
        minnow: Minnow | None,
        local_names: Sequence[str],
    ) -> None:
        self._configured = configured
        self._providers = frozenset(providers)
        self._discovery = discovery
        self._minnow = minnow
        self._local_names = frozenset(local_names)

    def resolve(self, model: str) -> Sequence[Deployment]:
        """Deployments that can answer, best first. Errors: Fault model_not_found, or not_ready while the local model loads."""
        found = self._configured.get(model) or self._local(model)
        if found:
            return found
        provider, slash, name = model.partition("/")
        if slash and name and provider in self._providers:
            return (Deployment(id=model, model=model, provider=provider, upstream_model=name),)
        if slash and provider == PROVIDER and (local := self._local(name)):
            return local
        discovered = [_deployment(one, model) for one, models in self._discovery.models.items() if model in models]
        if discovered:
            return discovered
        raise self._unknown(model)

    def _local(self, model: str) -> Sequence[Deployment]:
        if self._minnow is None:
            return ()
        deployment = self._minnow.deployments.get(model)
        if deployment is not None:
            return (deployment,)
        if model in self._local_names and not self._minnow.ready:
            raise Fault("not_ready", f"The model '{model}' is still being loaded; try again in a few seconds.", retry_after_s=2)
        return ()

    def _unknown(self, model: str) -> Fault:
        shown = model if len(model) <= 100 else model[:100] + "..."
        near = difflib.get_close_matches(model[:200], [name for name, _ in self.listing()], n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
        text = f"The model {shown!r} does not exist or is not configured here.{hint} GET /v1/models lists what can be reached."
        return Fault("model_not_found", text, param="model")

    def listing(self) -> Iterator[tuple[str, str]]:
        """Every name that resolves, with the provider it belongs to, each once."""
        seen: set[str] = set()
        configured = ((name, deployments[0].provider) for name, deployments in self._configured.items())
        local = ((name, PROVIDER) for name in (self._minnow.deployments if self._minnow else ()))
        discovered = ((name, provider) for provider, names in self._discovery.models.items() for name in names)
        for name, provider in (*configured, *local, *discovered):
            if name not in seen:
                seen.add(name)
                yield name, provider


def _deployment(provider: str, model: str) -> Deployment:
    return Deployment(id=f"{provider}/{model}", model=model, provider=provider, upstream_model=model)
