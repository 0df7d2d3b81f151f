"""How tokens are drawn, as Anthropic takes it: temperature from 0 to 1, less of it with thought, nothing of it from 4.7 on.

https://platform.claude.com/docs/en/api/messages and .../build-with-claude/extended-thinking#feature-compatibility. A temperature above 1
becomes 1, as in Anthropic's own OpenAI layer (.../cli-sdks-libraries/libraries/openai-sdk), and is named as altered.
"""

from typing import Any

import msgspec

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
    fitted, unfit = fit(sampling, family, thinks)
    out |= {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(fitted, name)) is not None}
    dropped += unfit
    if fitted.stop:
        out["stop_sequences"] = list(fitted.stop)
    return out, dropped


def fit(sampling: Sampling, family: Family, thinks: bool) -> tuple[Sampling, list[str]]:
    """How tokens are drawn, as far as the model takes it, and the names of what it does not. 1 is what is meant where nothing is said."""
    dropped: list[str] = []
    free = family.samples and not thinks
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if temperature is not None and (temperature > 1 or (temperature < 1 and not free)):
        dropped.append("temperature")
        temperature = 1 if free else None
    if top_p is not None and top_p < 1 and not (free or (family.samples and top_p >= 0.95)):
        dropped.append("top_p")
        top_p = None
    if family.samples_once and temperature is not None and top_p is not None:
        if temperature == 1 and top_p < 1:
            temperature = None
        else:
            dropped += ["top_p"] * (top_p < 1)
            top_p = None
    if top_k is not None and not free:
        dropped.append("top_k")
        top_k = None
    if not family.samples:
        temperature = top_p = None
    stop = tuple(one for one in sampling.stop if one.strip())
    if len(stop) < len(sampling.stop):  # a sequence of white space alone is an error
        dropped.append("stop")
    return msgspec.structs.replace(sampling, temperature=temperature, top_p=top_p, top_k=top_k, stop=stop), dropped


def _refuse(sampling: Sampling) -> None:
    for name, asked in (
        ("n", sampling.n is not None and sampling.n > 1),
        ("top_logprobs", bool(sampling.top_logprobs)),
        ("logit_bias", bool(sampling.logit_bias)),
    ):
        if asked:
            raise Fault("unsupported_parameter", f"'{name}' is not supported by Anthropic's models; leave it out.", param=name)
