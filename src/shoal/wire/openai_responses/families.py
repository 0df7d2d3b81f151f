"""What a model's name tells of how it must be asked."""

import re

from shoal.core.models import Deployment

_ENCRYPTS = re.compile(r"(^|/)(o\d|gpt-5|codex|computer-use|grok-(3-mini|4|code))")
_ANSWERS = re.compile(r"-chat|non-reasoning|search-api")


def encrypts(deployment: Deployment) -> bool:
    """Whether the model's thoughts come encrypted: one that does not think refuses to be asked for them, and open models hide none."""
    names = (deployment.upstream_model, deployment.model)
    known = any(_ENCRYPTS.search(name) and not _ANSWERS.search(name) for name in names)
    return known and deployment.capabilities.reasoning is not False
