"""POST /v1/chat/completions of a head: a student that answers from a closed set, or says what is of a kind in a text.

The likeliest answer is always given, so temperature 0, a seed and several choices ask for what is done anyway. Tokens are the sentence
model's. Requests that come while the sentence model is busy are answered together, in one turn.
"""

import math
from collections.abc import Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.mini import dialect, turns
from shoal.mini.answers import ChatAnswer, make_head
from shoal.mini.choice import Said, Writer
from shoal.mini.dialect import ChatRequest
from shoal.mini.engine import Capabilities
from shoal.mini.heads import text_of
from shoal.mini.schema import parse_schema
from shoal.mini.served import ServedHead
from shoal.mini.streams import ChatStream
from shoal.mini.text import Chosen, Stops
from shoal.mini.turns import AnswerForm, ToolUse
from shoal.mini.values import check_value
from shoal.net.exchange import Exchange

MOST_CHARACTERS = 200_000
_GREEDY = ("temperature", "presence_penalty", "frequency_penalty")  # other values than 0 change nothing here, and are said to


class Given(msgspec.Struct, frozen=True):
    """One answer as it is shown, and its tokens (choice.Choice's, for usage)."""

    text: str
    finish: str
    chosen: Sequence[Chosen]
    tokens: int
    cached_tokens: None = None


async def serve_head(model: ServedHead, request: ChatRequest, exchange: Exchange) -> None:
    """Answer a chat completion with what the head says, whole or as a stream. Raises Fault while nothing is sent."""
    dialect.check_chat(request, Capabilities(model.context_tokens, chosen_logprobs=True))
    form = _check(request)
    messages = turns.make_turns(request.messages, ToolUse("none"), None, template_knows_tools=False)
    text = text_of(messages, model.head.frame.system)
    if len(text) > MOST_CHARACTERS:
        raise dialect.make_context_fault("messages", f"{len(text)} characters", None, model.context_tokens)
    said = await model.ask(text)
    if form is not None and not _is_of_form(said.answer, form):
        text = "This model answers as it was taught, which is not of this form; leave 'response_format' out."
        raise Fault("unsupported_parameter", text, param=form.param)
    wanted = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    given = shape(model.embedder.pieces(said.answer), said.probability, request.stops, wanted, logprobs=bool(request.logprobs))
    dropped = [*dialect.list_dropped(exchange.body, ChatRequest), *(name for name in _GREEDY if getattr(request, name))]
    head = make_head("chatcmpl", model.name, model.fingerprint, said.tokens, dropped)
    count = request.choices
    writer: Writer = ChatStream(exchange, head, count, usage=request.wants_usage) if request.stream else ChatAnswer(exchange, head, count)
    if exchange.gone:
        return
    for i in range(count):
        writer.write(i, Said(given.text, (), given.chosen, given.finish))
    writer.complete([given] * count)


def _check(request: ChatRequest) -> AnswerForm | None:
    """What no head can do is refused by name; the form that the answer must have. Raises Fault."""
    if request.continue_final_message:
        text = "This model answers from a closed set and cannot go on from a beginning; leave 'continue_final_message' out."
        raise Fault("unsupported_parameter", text, param="continue_final_message")
    if turns.read_tool_use(request).mode != "none":
        raise Fault("unsupported_parameter", "This model answers from a closed set and calls no tools; leave 'tools' out.", param="tools")
    return turns.read_answer_form(request.response_format)


def _is_of_form(answer: str, form: AnswerForm) -> bool:
    try:
        schema = parse_schema(msgspec.json.encode(form.schema).decode())
        return check_value(schema, schema.root, msgspec.json.decode(answer))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def shape(pieces: Sequence[str], probability: float, stops: Sequence[str], max_tokens: int | None, *, logprobs: bool) -> Given:
    """An answer cut where a stop string begins, and after `max_tokens` of its pieces.

    The log probability of the whole is its first token's: the others follow from it.
    """
    kept = pieces if max_tokens is None else pieces[:max_tokens]
    whole = "".join(kept)
    watch = Stops(stops)
    text, stopped = watch.feed(whole)
    text += "" if stopped else watch.finish()
    finish = "stop" if stopped or len(kept) == len(pieces) else "length"
    chosen, at = [], 0
    for i, piece in enumerate(kept if logprobs else ()):
        if at >= len(text):
            break
        chosen.append(Chosen(piece.encode(), math.log(max(probability, 1e-30)) if i == 0 else 0.0, at))
        at += len(piece)
    return Given(text, finish, chosen, len(kept))
