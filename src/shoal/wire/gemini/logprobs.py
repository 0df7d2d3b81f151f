"""Log probabilities: Google's `logprobsResult` as OpenAI's object and back. See https://ai.google.dev/api/generate-content#LogprobsResult."""

from typing import Any

import msgspec

from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.shapes import Logprobs, Token


def read(found: Logprobs) -> msgspec.Raw:
    """OpenAI's `{"content": [...], "refusal": null}`."""
    tops = found.top_candidates or []
    content = [
        _token(token) | {"top_logprobs": [_token(one) for one in (tops[step].candidates or ())] if step < len(tops) else []}
        for step, token in enumerate(found.chosen_candidates or ())
    ]
    return msgspec.Raw(msgspec.json.encode({"content": content, "refusal": None}))


def _token(token: Token) -> Json:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def write(raw: bytes) -> Json:
    """`logprobsResult` of OpenAI's object."""
    content: list[Any] = msgspec.json.decode(raw).get("content") or []
    return {
        "chosenCandidates": [_candidate(one) for one in content],
        "topCandidates": [{"candidates": [_candidate(top) for top in one.get("top_logprobs") or ()]} for one in content],
    }


def _candidate(one: Any) -> Json:
    return {"token": one["token"], "logProbability": one["logprob"]}
