"""The most that a request can cost, known before anybody is asked: what is held for it. Pure.

A token is at least one byte, so a text has no more tokens than bytes. What is not in the body (pictures and files by their address, what an
upstream's own tools find) can fill the model's context. An answer is as long as the caller allows, else as the model can make it.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from shoal.core.chat import ChatFields, CompletionFields, GenerateFields, Request, RerankFields
from shoal.core.identity import charged_nano
from shoal.core.models import Deployment
from shoal.core.money import PICO_PER_NANO, Price, Tier, nano_from_pico

UNKNOWN_TOKENS = 128_000
"""The context, or the longest answer, of a model of which they are not known."""

_FRAME, _TOOLS_FRAME = 256, 1_536  # tokens that templates add, and the providers' own words about tools
_SAYING = 32  # bytes that it takes to say how long an answer may be
_TYPE, _TOOLS, _ESCAPED = b'"type"', b'"tools"', b"\\u00"
_ELSEWHERE = (
    *(b'"image', b'"input_image"', b'"input_file"', b'"input_audio"', b'"video', b'"file', b'"document"', b'"container', b'"mcp'),
    *(b'"inline', b'"web_', b'"google', b'"url', b'"code_', b'"computer', b'"conversation"', b'"prompt"'),
)
"""How the members and types of what is not a text begin, in every dialect."""
_TIER, _SPEED = b'"service', b'"speed"'
_SEARCHING = (b'"web_search', b'"google_search', b'"googleSearch')
_MOST_SEARCHES = 10
_DOCUMENTS_A_SEARCH = 100  # https://docs.cohere.com/docs/rerank-overview: longer ones count as several
_CHUNK_BYTES = 200


class Size(NamedTuple):
    """How large a request is, and its answers can be. `output` None: the caller did not say. `elsewhere`: some of it is not in the body.

    `hurried`: the answer may be made at a service tier of a price of its own.
    """

    input: int
    output: int | None
    answers: int = 1
    elsewhere: bool = False
    searches: int = 0
    web_searches: int = 0
    hurried: bool = False


class Bound(NamedTuple):
    """The most nano-USD that a request can cost, and the deployment, its markup and the size that were reckoned with."""

    nano: int
    size: Size
    deployment: Deployment | None = None
    ppm: int = 0


class _Generation(msgspec.Struct, rename="camel"):
    """Gemini's, of which the members go by two names (https://ai.google.dev/api/generate-content#generationconfig)."""

    max_output_tokens: int | None = None
    candidate_count: int | None = None
    max_output: int | None = msgspec.field(default=None, name="max_output_tokens")
    candidates: int | None = msgspec.field(default=None, name="candidate_count")


class _Generating(msgspec.Struct):
    camel: _Generation | None = msgspec.field(default=None, name="generationConfig")
    snake: _Generation | None = msgspec.field(default=None, name="generation_config")


_generating = msgspec.json.Decoder(_Generating)


def measure(kind: str, request: Request) -> Size:
    """The size of a request to an endpoint of this kind."""
    body, fields = request.body, request.fields
    if kind in ("embeddings", "rerank"):
        searches = 0
        if isinstance(fields, RerankFields):
            searches = -(-(len(fields.documents) + len(body) // _CHUNK_BYTES) // _DOCUMENTS_A_SEARCH)
        return Size(len(body) + _FRAME, 0, searches=searches)
    if type(fields) is ChatFields:
        output, answers = fields.max_completion_tokens or fields.max_tokens, fields.n or 1
    else:
        output, answers = _answers(request)
    if _TYPE not in body and _ESCAPED not in body and _TIER not in body and _SPEED not in body and type(fields) is not GenerateFields:
        return Size(len(body) + _FRAME, output, answers)  # plain texts, as most requests
    if _ESCAPED in body:  # names may be written with escapes
        body = msgspec.json.encode(msgspec.json.decode(body))
    body = body.replace(b'\\"', b"")  # quotes inside of a text begin no name
    hurried = _TIER in body or _SPEED in body
    elsewhere = any(mark in body for mark in _ELSEWHERE)
    web_searches = _MOST_SEARCHES if elsewhere and any(mark in body for mark in _SEARCHING) else 0
    return Size(len(request.body) + (_TOOLS_FRAME if _TOOLS in body else _FRAME), output, answers, elsewhere, 0, web_searches, hurried)


def _answers(request: Request) -> tuple[int | None, int]:
    """The most tokens of an answer, and how many answers."""
    fields = request.fields
    if isinstance(fields, GenerateFields):
        return _generation(request.body)
    answers = getattr(fields, "n", None) or 1
    if isinstance(fields, CompletionFields):
        prompt = fields.prompt
        several = isinstance(prompt, list) and bytes(prompt[0])[:1] in b'"['
        answers = max(answers, fields.best_of or 1) * (len(prompt) if several else 1)
    return request.max_tokens, answers


def _generation(body: bytes) -> tuple[int | None, int]:
    try:
        asked = _generating.decode(body)
    except msgspec.ValidationError:
        return None, 1  # the upstream will refuse it
    config = asked.camel or asked.snake or _Generation()
    output = config.max_output_tokens if config.max_output_tokens is not None else config.max_output
    return output, max(1, config.candidate_count or config.candidates or 1)


def most(size: Size, candidates: Iterable[Deployment], markup: Callable[[Deployment], int] | None = None) -> Bound:
    """The most that a request of this size costs at any of these deployments, with the markup of each in millionths.

    One without a price costs nothing.
    """
    dearest, which, its_ppm = 0, None, 0
    for deployment in candidates:
        if deployment.price is not None:
            ppm = 0 if markup is None else markup(deployment)
            for one in _as_priced(deployment, deployment.price) if size.hurried else (deployment,):
                pico = _input_pico(size, one) + _longest(size, one) * _output_pico(size, one)
                nano = charged_nano(nano_from_pico(pico), ppm)
                if nano >= dearest:
                    dearest, which, its_ppm = nano, one, ppm
    return Bound(dearest, size, which, its_ppm)


def _as_priced(deployment: Deployment, price: Price) -> Iterable[Deployment]:
    """The deployment at each price that it may ask."""
    yield deployment
    yield from (msgspec.structs.replace(deployment, price=one) for one in price.service_tiers.values())


def affordable_tokens(bound: Bound, nano: int) -> int:
    """How long each answer may be for the request to cost no more than `nano`; 0 where its input alone costs more."""
    deployment, size = bound.deployment, bound.size
    if deployment is None:
        return 0
    size = size._replace(input=size.input + _SAYING)
    cost = nano * 1_000_000 // (1_000_000 + bound.ppm)
    left = cost * PICO_PER_NANO - _input_pico(size, deployment)
    a_token = _output_pico(size, deployment) * size.answers
    return max(0, left // a_token) if a_token else 0


def _read(size: Size, deployment: Deployment) -> int:
    """The most tokens of input."""
    context = deployment.context_tokens
    if size.elsewhere:
        return context or max(size.input, UNKNOWN_TOKENS)
    return size.input if context is None else min(size.input, context)


def _longest(size: Size, deployment: Deployment) -> int:
    """The most tokens of output, of all answers together."""
    output = size.output
    if output is None:
        output = deployment.max_output_tokens or deployment.context_tokens or UNKNOWN_TOKENS
    return output * size.answers


# of prices that are the same however long a request is, the dearest rates of input and output, by the deployment's id
_flat: dict[str, tuple[Price | None, int, int]] = {}
_MOST_FLAT = 4096


def _dearest(size: Size, deployment: Deployment) -> tuple[Price | None, int, int]:
    """The price, and pico-USD of the dearest token of input and of output."""
    price = deployment.price
    known = _flat.get(deployment.id)
    if known is not None and known[0] is price:
        return known
    if price is None:
        return None, 0, 0
    tokens = _read(size, deployment)
    rates: list[Price | Tier] = [price, *(tier for tier in price.tiers if tokens > tier.above_tokens)]
    found = (price, max(_dearest_input(one, price) for one in rates), max(_dearest_output(one, price) for one in rates))
    if not price.tiers:
        if len(_flat) >= _MOST_FLAT:
            _flat.clear()
        _flat[deployment.id] = found
    return found


def _dearest_input(rates: Price | Tier, price: Price) -> int:
    """Of what is read, written to a cache or read from it, and spoken."""
    plain = max(rates.input_pico, rates.cache_write_pico or 0, rates.cache_write_1h_pico or 0)
    speech = max(0, (price.audio_input_pico or 0) - rates.input_pico)
    return max(plain + speech, rates.cache_read_pico or 0, price.audio_cache_read_pico or 0)


def _dearest_output(rates: Price | Tier, price: Price) -> int:
    """Of what is said, thought or spoken."""
    odd = (price.audio_output_pico or 0, price.reasoning_pico or 0)
    return rates.output_pico + sum(max(0, own - rates.output_pico) for own in odd)


def _input_pico(size: Size, deployment: Deployment) -> int:
    """All but the output, in pico-USD."""
    price, rate, _ = _dearest(size, deployment)
    if price is None:
        return 0
    pico = _read(size, deployment) * rate
    if size.searches:
        pico = max(pico, size.searches * (price.search_pico or 0))
    return pico + price.request_pico + size.web_searches * (price.web_search_pico or 0)


def _output_pico(size: Size, deployment: Deployment) -> int:
    """A token of output."""
    return _dearest(size, deployment)[2]
