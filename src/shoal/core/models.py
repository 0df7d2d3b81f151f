"""Who can answer: a deployment is one model at one upstream, at one price."""

import msgspec

from shoal.core.identity import OPERATOR
from shoal.core.money import Price


class Capabilities(msgspec.Struct, frozen=True):
    """What a deployment can do. None is unknown: it is asked, and its own refusal passed on; False is refused here, by name.

    `prefill`: takes up a given beginning of its answer and goes on from there, with no word repeated.
    """

    tools: bool | None = None
    json_schema: bool | None = None
    json_object: bool | None = None
    images: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    reasoning: bool | None = None
    logprobs: bool | None = None
    logit_bias: bool | None = None
    prefill: bool = False


class Deployment(msgspec.Struct, frozen=True):
    """One way to reach a model. `model` is its public name, `upstream_model` what the upstream calls it; a price of None is unknown.

    `local` marks the process beside us, which tells in a header what it left out of a request. `dialect` is what the upstream speaks,
    `also` what it speaks besides: callers who speak that are forwarded in it. `endpoints` are what its upstream has besides chats
    (completions, embeddings, rerank); None is not known.
    `ends_on` is the day (YYYY-MM-DD) from which the provider will no longer serve it; `deprecated` says that it advises against it.
    `on_disconnect`: what the upstream does when whoever asked hangs up: "stops", "stops_streams" (and goes on with a whole answer), or
    "goes_on". `collects_data` and `zero_retention` are what the provider's terms say of what is sent there; None is not known.
    `org_id` is the organisation that alone may know of it and use it, besides the operator's; None: everybody may.
    """

    id: str
    model: str
    provider: str
    upstream_model: str
    price: Price | None = None
    weight: float = 1.0
    local: bool = False
    dialect: str = "openai_chat"
    capabilities: Capabilities = Capabilities()
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    region: str | None = None
    quantization: str | None = None
    collects_data: bool | None = None
    zero_retention: bool | None = None
    also: tuple[str, ...] = ()
    on_disconnect: str | None = None
    endpoints: tuple[str, ...] | None = None
    deprecated: bool = False
    ends_on: str | None = None
    org_id: str | None = None

    def is_for(self, org_id: str) -> bool:
        """Whether an organisation may know of it."""
        return self.org_id is None or org_id in (self.org_id, OPERATOR)
