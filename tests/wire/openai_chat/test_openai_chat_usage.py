"""Token counts, wherever a provider reports them."""

import json
from typing import Any

import pytest

from shoal.core.usage import Usage
from shoal.wire.openai_chat.usage import read, write


@pytest.mark.parametrize(
    ("seen", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(5, 2, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 4}}, Usage(5, 2, None, 4)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"audio_tokens": 4},
                "completion_tokens_details": {"audio_tokens": 1},
            },
            Usage(5, 2, audio_input=4, audio_output=1),
        ),
        (  # Perplexity's deep research: thought and quotes are beside the completion
            {"prompt_tokens": 5, "completion_tokens": 2, "reasoning_tokens": 30, "citation_tokens": 400, "num_search_queries": 3},
            Usage(5, 432, reasoning=30, web_searches=3, citations=400),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 40, "reasoning_tokens": 30}, Usage(5, 40)),  # nobody knows whether it is counted
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}, Usage(5, 2, 3)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 3}, Usage(5, 2, 3)),
        # reasoning within the completion, as nearly everybody counts
        (
            {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 7}},
            Usage(5, 9, reasoning=7),
        ),
        # and beside it
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 7}},
            Usage(5, 9, reasoning=7),
        ),
        ({}, Usage()),
    ],
)
def test_counts_are_found(seen: dict[str, Any], usage: Usage) -> None:
    assert read(json.dumps(seen).encode()) == usage


def test_what_is_not_reported_is_not_written() -> None:
    assert write(Usage()) is None
    assert write(Usage(1, 2)) == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_counts_survive_the_way_there_and_back() -> None:
    usage = Usage(9, 8, 7, 1, 5)
    assert read(json.dumps(write(usage)).encode()) == usage
