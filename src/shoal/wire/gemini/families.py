"""What a model's name and place tell of how it must be asked."""

import re
from urllib.parse import quote

from shoal.core.models import Deployment

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_LATEST = 99.0


def generation(model: str) -> float:
    """The number in a Gemini's name: 2.5 for gemini-2.5-pro; a large one for aliases such as gemini-flash-latest; 0 for other models."""
    found = _GENERATION.search(model)
    if found:
        return float(f"{found[1]}.{found[2] or 0}")
    return _LATEST if "gemini-" in model and model.endswith("-latest") else 0.0


def on_vertex(deployment: Deployment) -> bool:
    """Whether the deployment is Vertex's, which counts and embeds in words of its own."""
    return deployment.provider.startswith("vertex")


def resource(model: str) -> str:
    """A model's resource name, fit for a path: models/NAME, or tunedModels/NAME as it is."""
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    # a name that climbs (`..`) stays a name: no server takes the escaped form for a way up
    return "/".join(quote(part, safe="@") if part.strip(".") else "%2E" * len(part) for part in name.split("/"))
