"""How tokens are drawn, as Anthropic takes it: temperature from 0 to 1, less of it with thought, nothing of it from 4.7 on.

https://platform.claude.com/docs/en/api/messages and .../build-with-claude/extended-thinking#feature-compatibility. A temperature above 1
becomes 1, as in Anthropic's own OpenAI layer (.../cli-sdks-libraries/libraries/openai-sdk), and is named as altered.
"""

from typing import Any

from shoal.core.conversation import Sampling
from shoal.core.errors import Fault
from shoal.wire.anthropic.families import Family


def write(sampling: Sampling, family: Family, thinks: bool) -> tuple[dict[str, Any], list[str]]:
    """Members of the request, and what was left out or altered. Errors: Fault for what must not be left out."""
    _refuse(sampling)
    out: dict[str, Any] = {}
    dropped = [name for name in ("presence_penalty", "frequency_penalty") if getattr(sampling, name)]
    dropped += [name for name in ("seed",) if getattr(sampling, name) is not None]
    dropped += ["logprobs"] if sampling.logprobs else []
    free = family.samples and not thinks
    if sampling.temperature is not None:
        if free:
            out["temperature"] = min(sampling.temperature, 1)
        if sampling.temperature > 1 or (not free and sampling.temperature != 1):
            dropped.append("temperature")
    if sampling.top_p is not None and sampling.top_p != 1:  # 1 draws from all tokens, as does saying nothing
        if family.samples and not (family.samples_once and "temperature" in out) and (free or sampling.top_p >= 0.95):
            out["top_p"] = sampling.top_p
        else:
            dropped.append("top_p")
    if sampling.top_k is not None:
        if free:
            out["top_k"] = sampling.top_k
        else:
            dropped.append("top_k")
    stops = [stop for stop in sampling.stop if stop.strip()]
    if stops:
        out["stop_sequences"] = stops
    if len(stops) < len(sampling.stop):  # a sequence of white space alone is an error
        dropped.append("stop")
    return out, dropped


def _refuse(sampling: Sampling) -> None:
    for name, asked in (
        ("n", sampling.n is not None and sampling.n > 1),
        ("top_logprobs", bool(sampling.top_logprobs)),
        ("logit_bias", bool(sampling.logit_bias)),
    ):
        if asked:
            raise Fault("unsupported_parameter", f"'{name}' is not supported by Anthropic's models; leave it out.", param=name)
