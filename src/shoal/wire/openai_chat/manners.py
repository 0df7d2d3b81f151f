"""Where providers that speak this dialect differ in more than the names of members: data, by the provider's name.

What a row's quirks can say (rename, drop, default) is said there; this is what needs to know a conversation's nouns.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class Adapted(msgspec.Struct, frozen=True):
    """What a request must change for a provider: members to replace or add (JSON), names of those to leave out, and what is lost by that,
    by the caller's names."""

    changes: Mapping[str, bytes]
    without: tuple[str, ...]
    dropped: tuple[str, ...]


class Manner(msgspec.Struct, frozen=True):
    """How one provider wants the dialect spoken. The defaults are what nearly all of them take.

    `limit` names the limit of output tokens. `developer` is the role of a developer's words. `thoughts` is how earlier thought is sent
    back: not at all, as reasoning_content, as reasoning, as reasoning_details, or as Mistral's content parts. `effort` is how much to
    think: reasoning_effort, OpenRouter's `reasoning`, a switch `thinking` (with or without reasoning_effort), or Qwen's enable_thinking.
    `one_text`: a message holds one text, not several. `refuses`: members beyond OpenAI's own (extensions.py) that it would refuse, or pass
    over; those of messages as `messages.NAME`, where `developer` is a role. `routes`: it chooses among others itself, by `provider`.
    """

    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    developer: Literal["system", "developer"] = "system"
    thoughts: Literal["reasoning_content", "reasoning", "reasoning_details", "parts"] | None = None
    effort: Literal["reasoning_effort", "reasoning", "thinking", "thinking and reasoning_effort", "enable_thinking"] = "reasoning_effort"
    refusals: bool = False
    cache_control: bool = False
    signatures: bool = False
    top_k: bool = False
    file_urls: bool = False
    nine_character_ids: bool = False
    one_text: bool = False
    refuses: frozenset[str] = frozenset()
    routes: bool = False


_THOUGHTS = frozenset(("messages.reasoning", "messages.reasoning_content", "messages.reasoning_details"))
_BEYOND = frozenset(("reasoning", "thinking", "top_k", "cache_control", "extra_content")) | _THOUGHTS
# whoever checks messages for what its schema does not have also refuses what OpenAI's answers have besides
_STRICT = _BEYOND | {"messages.annotations", "messages.refusal"}
_BY_CONTENT = frozenset(("reasoning", "messages.reasoning", "messages.reasoning_details", "messages.developer"))
"""Refused by those who take thought as reasoning_content, and say how much otherwise than OpenRouter."""

_OPENAI = Manner(limit="max_completion_tokens", developer="developer", refusals=True, refuses=_BEYOND)
_PLAIN = Manner()
_TOP_K = Manner(top_k=True)

MANNERS: dict[str, Manner] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    # https://openrouter.ai/docs/use-cases/reasoning-tokens and https://openrouter.ai/docs/features/prompt-caching
    "openrouter": Manner(
        thoughts="reasoning_details",
        effort="reasoning",
        refusals=True,
        cache_control=True,
        top_k=True,
        file_urls=True,
        routes=True,
        refuses=frozenset(("thinking",)),
    ),
    # https://api-docs.deepseek.com/guides/thinking_mode: a turn with tool calls is refused without its reasoning_content
    "deepseek": Manner(thoughts="reasoning_content", effort="thinking and reasoning_effort", one_text=True, refuses=_BY_CONTENT),
    # https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model
    "moonshot": Manner(thoughts="reasoning_content", effort="thinking", one_text=True, refuses=_BY_CONTENT),
    # its own refusal of lists: one `text` element for each message
    "xai": Manner(one_text=True, refuses=frozenset(("reasoning", "thinking"))),
    # https://docs.z.ai/guides/capabilities/thinking-mode
    "zai": Manner(thoughts="reasoning_content", effort="thinking", refuses=_BY_CONTENT),
    # https://www.alibabacloud.com/help/en/model-studio/deep-thinking
    "dashscope": Manner(
        thoughts="reasoning_content", effort="enable_thinking", cache_control=True, top_k=True, refuses=_BY_CONTENT | {"thinking"}
    ),
    # https://platform.minimax.io/docs/api-reference/text-openai-api: whole answers go back, with their reasoning_details
    "minimax": Manner(thoughts="reasoning_details", effort="thinking", refuses=frozenset(("reasoning", "messages.reasoning"))),
    # https://docs.mistral.ai/studio-api/conversations/reasoning; ids of calls are nine letters or digits
    "mistral": Manner(thoughts="parts", nine_character_ids=True, refuses=_STRICT | {"messages.developer"}),
    # https://console.groq.com/docs/api-reference#chat-create: thought goes back to some of its models only
    "groq": Manner(refuses=_STRICT - {"messages.reasoning"}),
    # https://inference-docs.cerebras.ai/capabilities/reasoning
    "cerebras": Manner(thoughts="reasoning", refuses=_STRICT - {"messages.reasoning"}),
    # https://ai.google.dev/gemini-api/docs/openai
    "gemini": Manner(signatures=True),
    "vertex": Manner(signatures=True),
    # https://docs.fireworks.ai/guides/reasoning
    "fireworks": Manner(thoughts="reasoning_content", top_k=True, refuses=_BY_CONTENT),
} | dict.fromkeys(("together", "deepinfra", "novita", "nebius", "sambanova", "vllm", "llamacpp", "lmstudio", "minnow"), _TOP_K)


def manner_of(provider: str) -> Manner:
    """The manner of a provider; those not named here take what nearly all do."""
    return MANNERS.get(provider, _PLAIN)


def chooser(model: str, wishes: Mapping[str, Any] | None) -> str | None:
    """The provider that a request's `provider` is for, where that is not the gateway: the one that its model's name begins with, if it
    chooses among others itself, and the wishes do not name it as one to choose.
    """
    name = model.partition("/")[0]
    if not wishes or not manner_of(name).routes or any(name in (wishes.get(member) or ()) for member in ("order", "only", "ignore")):
        return None
    return name
