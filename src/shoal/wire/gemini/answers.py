"""A whole answer, read and written. See https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse."""

from collections.abc import Sequence

import msgspec

from shoal.core.answer import Answer, Choice, fold
from shoal.core.conversation import Citation, Conversation, File, Finish, Image, Part, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.gemini import citations, errors, logprobs, signatures, usage
from shoal.wire.gemini.parts import Json, call, media
from shoal.wire.gemini.reading import Reading
from shoal.wire.gemini.shapes import ABSENT, Response, response

_REASONS: dict[Finish | None, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    None: "OTHER",
}


def decode(body: bytes) -> Response:
    """An answer, or an event of one. Errors: Fault, also for an error in its place."""
    try:
        seen = response.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not an answer of Google's shape.") from None
    if seen.error is not ABSENT and bytes(seen.error) != b"null":
        raise errors.read_within(body)
    return seen


def read(body: bytes, conversation: Conversation) -> Answer:
    """An upstream's answer. Errors: Fault."""
    reading = Reading()
    return fold([*reading.take(decode(body)), *reading.end(whole=True)])


def write(answer: Answer, cost: str | None, receipt: bytes) -> bytes:
    """An answer for a caller, with `cost` at the end of its usage and the receipt at its own."""
    candidates = [_candidate(choice) for choice in answer.choices]
    return msgspec.json.encode(envelope(candidates, answer.model, answer.id) | ending(answer.usage, cost, receipt))


def envelope(candidates: Sequence[Json], model: str, identity: str) -> Json:
    """The object around candidates."""
    named = {"modelVersion": model, "responseId": identity}
    return {"candidates": candidates} | {name: value for name, value in named.items() if value}


def ending(used: Usage, cost: str | None, receipt: bytes) -> Json:
    """Usage with its cost, and the receipt."""
    price = msgspec.Raw((cost or "null").encode())
    return {"usageMetadata": usage.write(used) | {"cost": price}, "shoal": msgspec.Raw(receipt)}


def _candidate(choice: Choice) -> Json:
    words = [part for part in choice.parts if isinstance(part, Text)]
    out: Json = {"content": {"parts": write_parts(choice.parts), "role": "model"}, "index": choice.index}
    if choice.logprobs is not None:
        out["logprobsResult"] = logprobs.write(choice.logprobs)
    cited = [citation for part in words for citation in part.citations]
    return out | finished(choice.finish, cited, "".join(part.text for part in words))


def finished(finish: Finish | None, cited: Sequence[Citation], text: str) -> Json:
    """What a candidate's end tells: why, and on which sources its text rests."""
    out: Json = {"finishReason": _REASONS[finish]}
    if cited:
        out["groundingMetadata"] = citations.write(cited, text)
    return out


def write_parts(parts: Sequence[Part], called: int = 0) -> list[Json]:
    """Parts of an answer. `called` is how many functions the answer has called before.

    A call that no Gemini made says so in its signature, so that the same history can go to a Gemini later.
    """
    out: list[Json] = []
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                out.append({"text": text})
            case Reasoning():
                out.append(_thought(part))
            case ToolCall():
                signature = part.signature or (None if called else signatures.UNSIGNED)
                out.append(call(part) | ({"thoughtSignature": signature} if signature else {}))
                called += 1
            case Image() | File():
                out.append(media(part))
    return out


def _thought(part: Reasoning) -> Json:
    proof = signatures.seal(part)
    signed = {"thoughtSignature": proof} if proof else {}
    if not part.text and part.origin == signatures.ORIGIN:
        return {"text": ""} | signed
    return {"text": part.text, "thought": True} | signed
