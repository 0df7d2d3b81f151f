"""A whole answer, both ways. https://platform.openai.com/docs/api-reference/responses/object."""

import msgspec

from shoal.core.answer import Answer, fold, split
from shoal.core.conversation import Conversation
from shoal.wire.openai_responses.output import Output
from shoal.wire.openai_responses.reading import Reading
from shoal.wire.openai_responses.response import close_response, open_response, seal_response


def read(body: bytes) -> Answer:
    """An upstream's answer. Errors: Fault upstream_garbled, or what a response that failed says."""
    return fold(Reading().whole(msgspec.Raw(body)))


def write(answer: Answer, cost: str | None, receipt: bytes, *, conversation: Conversation, response_id: str, created: int) -> bytes:
    """The answer for a caller. `created` is seconds since 1970. Errors: Fault for what a response cannot hold."""
    output = Output(response_id)
    for delta in split(answer):
        for _ in output.take(delta):
            continue
    response = open_response(conversation, response_id, created, answer.model or conversation.model)
    close_response(response, output.items, output.finish, answer.usage)
    return seal_response(response, cost, receipt)
