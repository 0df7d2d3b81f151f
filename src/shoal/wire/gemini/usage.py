"""Token counts. See https://ai.google.dev/api/generate-content#UsageMetadata.

Google counts thought apart from the answer and what its tools read apart from the question; ours include them.
"""

from shoal.core.usage import Usage, service_tier
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.shapes import ModalityCount, UsageMetadata


def read(seen: UsageMetadata) -> Usage:
    """Usage. What Google leaves out because it is 0 is told by the total, where there is one."""
    asked = _sum(seen.prompt_token_count, seen.tool_use_prompt_token_count)
    answered = _sum(seen.candidates_token_count, seen.thoughts_token_count)
    if answered is None and asked is not None and seen.total_token_count is not None:
        answered = max(0, seen.total_token_count - asked)
    return Usage(
        input=asked,
        output=answered,
        cache_read=seen.cached_content_token_count,
        reasoning=seen.thoughts_token_count,
        audio_input=_speech(seen.prompt_tokens_details),
        audio_cache_read=_speech(seen.cache_tokens_details),
        audio_output=_speech(seen.candidates_tokens_details),
        service_tier=_tier(seen),
    )


def _tier(seen: UsageMetadata) -> str | None:
    """Vertex tells it by the kind of traffic: ON_DEMAND, ON_DEMAND_FLEX."""
    traffic = (seen.traffic_type or "").removeprefix("ON_DEMAND").removeprefix("TRAFFIC_TYPE_UNSPECIFIED").removeprefix("_")
    return service_tier((seen.service_tier or "").removeprefix("SERVICE_TIER_").removesuffix("UNSPECIFIED")) or service_tier(traffic)


def _speech(details: list[ModalityCount] | None) -> int | None:
    return next((one.token_count for one in details or () if one.modality == "AUDIO"), None)


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def write(usage: Usage) -> Json:
    """`usageMetadata`, without what is not known."""
    said = None if usage.output is None else usage.output - (usage.reasoning or 0)
    total = None if usage.input is None or usage.output is None else usage.input + usage.output
    found = {
        "promptTokenCount": usage.input,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": said,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": total,
    }
    return {name: count for name, count in found.items() if count is not None}
