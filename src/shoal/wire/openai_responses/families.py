"""What a model's name tells of how it must be asked."""

import re

from shoal.core.models import Deployment

_THINKS = re.compile(r"(^|/)(o\d|gpt-5|gpt-oss|codex|computer-use|grok-(3-mini|4|code))")
_ANSWERS = re.compile(r"-chat|non-reasoning|search-api")


def thinks(deployment: Deployment) -> bool:
    """Whether the model thinks: one that does not refuses to be asked for its thoughts ("Encrypted content is not supported")."""
    if deployment.capabilities.reasoning is not None:
        return deployment.capabilities.reasoning
    names = (deployment.upstream_model, deployment.model)
    return any(_THINKS.search(name) and not _ANSWERS.search(name) for name in names)
