"""What a model's name says: a suffix that asks for a way of choosing, and which deployments a name in a list means."""

from collections.abc import Container, Iterable
from typing import Literal

from shoal.core.models import Deployment

Suffix = Literal["floor", "nitro", "free"]
_SUFFIXES: dict[str, Suffix] = {"floor": "floor", "nitro": "nitro", "free": "free"}


def split_suffix(model: str, names: Container[str] = ()) -> tuple[str, Suffix | None]:
    """The name without its suffix, and the suffix (https://openrouter.ai/docs/guides/routing/provider-selection).

    Only :floor (cheapest), :nitro (most tokens a second) and :free (at no price) are suffixes: `llama3:latest` and `...-v1:0` are names.
    `names` holds those that really end in such a word. So does an exact `openrouter/google/gemini:free`: where there is one provider only,
    nothing is left to choose, and OpenRouter's own names end so.
    """
    name, colon, word = model.rpartition(":")
    suffix = _SUFFIXES.get(word)
    exact = suffix == "free" and name.count("/") >= 2
    if suffix is None or exact or not colon or not name or model in names:
        return model, None
    return name, suffix


def is_named(deployment: Deployment, names: Iterable[str]) -> bool:
    """Whether a deployment goes by one of these names: its model's, its own id, `provider/model`, or its provider's."""
    known = (
        deployment.model,
        deployment.id,
        f"{deployment.provider}/{deployment.model}",
        f"{deployment.provider}/{deployment.upstream_model}",
        deployment.provider,
    )
    return any(name in known for name in names)


def is_of_provider(deployment: Deployment, name: str) -> bool:
    """Whether a name in a request's preferences means this deployment: `provider`, `provider/region`, `provider/quantization`, or its id.

    Letters' case does not matter: https://openrouter.ai/docs/guides/routing/provider-selection
    """
    wanted = name.casefold()
    provider = deployment.provider.casefold()
    if wanted == provider or wanted == deployment.id.casefold():
        return True
    return any(part is not None and wanted == f"{provider}/{part.casefold()}" for part in (deployment.region, deployment.quantization))
