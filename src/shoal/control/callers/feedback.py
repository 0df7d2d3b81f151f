"""Feedback: what a caller thought of an answer. Each key has one word on a request; to say another replaces it."""

import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from shoal.control.callers.given import GivenCaller
from shoal.control.callers.lists import After, Deleted, Limit, ListOf, Order, list_of, no_such_mark
from shoal.control.given import GivenOptions, GivenStore
from shoal.control.options import Options
from shoal.control.parameters import Id
from shoal.core.caller import Caller
from shoal.core.errors import Fault
from shoal.storage.feedback import Feedback, Opinion, Subject
from shoal.storage.identifiers import now_ms
from shoal.storage.store import Store

Reference = Annotated[str, Meta(min_length=1, max_length=256)]
_REQUEST_ID = re.compile(r"req_([0-9a-f]{12})[0-9a-f]{20}")
_RECENT_MS = 3_600_000
"""An older request is in the store, if it ever was one."""

MOST_CORRECTION_BYTES = 1024 * 1024


class Correction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The message that would have been better, as OpenAI writes an assistant's."""

    role: Literal["assistant"] = "assistant"
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Word(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is thought of an answer: at least one of score (from -1, as bad as can be, to 1), label, comment, and correction, a text or a
    message. The answer is named by the id of its request (the header x-request-id), or of the stored completion."""

    request_id: Reference | None = None
    completion_id: Reference | None = None
    score: Annotated[float, Meta(ge=-1, le=1)] | None = None
    label: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None
    correction: str | Correction | None = None


class FeedbackView(msgspec.Struct, frozen=True, kw_only=True):
    """One key's word on one request."""

    id: str
    request_id: str
    created_at: int
    score: float | None
    label: str | None
    comment: str | None
    correction: msgspec.Raw
    object: str = "feedback"


@post("/feedback", status_code=200)
async def give_feedback(data: JSONBody[Word], caller: GivenCaller, store: GivenStore, options: GivenOptions) -> FeedbackView:
    """Say what is thought of an answer."""
    if (data.request_id is None) == (data.completion_id is None):
        raise Fault("missing_parameter", "Name the answer by one of 'request_id' and 'completion_id'.", param="request_id")
    opinion = Opinion(score=data.score, label=data.label, comment=data.comment, correction=_correction(data.correction))
    if opinion == Opinion():
        raise Fault("missing_parameter", "Say at least one of 'score', 'label', 'comment' and 'correction'.", param="score")
    subject = await _find_subject(store, options, caller, data.request_id or data.completion_id or "")
    return show(await store.feedback.give(caller.project_id, caller.key_id, subject, opinion))


@get("/feedback")
async def list_feedback(
    caller: GivenCaller,
    store: GivenStore,
    options: GivenOptions,
    request_id: Annotated[str | None, Parameter(min_length=1, max_length=256)] = None,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> ListOf:
    """List what the project's keys have said, oldest first; of one request, where it is named."""
    mark = None if after is None else (await _find(store, caller, after, no_such_mark(after))).mark
    subject = None if request_id is None else await _find_subject(store, options, caller, request_id)
    about = None if subject is None else subject.request_id
    rows = await store.feedback.page(caller.project_id, request_id=about, after=mark, limit=limit + 1, newest_first=order == "desc")
    shown = rows[:limit]
    return list_of([show(one) for one in shown], [one.id for one in shown], len(rows) > limit)


@get("/feedback/{feedback_id:str}")
async def get_feedback(feedback_id: Id, caller: GivenCaller, store: GivenStore) -> FeedbackView:
    """Show one."""
    return show(await _find(store, caller, feedback_id))


@delete("/feedback/{feedback_id:str}", status_code=200)
async def delete_feedback(feedback_id: Id, caller: GivenCaller, store: GivenStore) -> Deleted:
    """Take one back."""
    if not await store.feedback.delete(caller.project_id, feedback_id):
        raise _missing(feedback_id)
    return Deleted(feedback_id, "feedback.deleted")


HANDLERS = [give_feedback, list_feedback, get_feedback, delete_feedback]


def show(one: Feedback) -> FeedbackView:
    """A word as it is shown."""
    said = one.opinion
    return FeedbackView(
        id=one.id,
        request_id=one.request_id,
        created_at=one.at_ms // 1000,
        score=said.score,
        label=said.label,
        comment=said.comment,
        correction=msgspec.Raw(said.correction or b"null"),
    )


def _correction(said: str | Correction | None) -> bytes | None:
    if said is None:
        return None
    message = Correction(content=said) if isinstance(said, str) else said
    if message.content is None and not message.tool_calls:
        raise Fault("missing_parameter", "A correction needs 'content' or 'tool_calls'.", param="correction.content")
    written = msgspec.json.encode({name: value for name, value in msgspec.structs.asdict(message).items() if value is not None})
    if len(written) > MOST_CORRECTION_BYTES:
        raise Fault("invalid_value", f"A correction may have {MOST_CORRECTION_BYTES // 1024} KiB at most.", param="correction")
    return written


async def _find_subject(store: Store, options: Options, caller: Caller, id: str) -> Subject:
    """A request of the caller's project. One that was just answered may still be in a journal. Errors: Fault not_found."""
    found = await store.feedback.find_subject(caller.project_id, id)
    named = _REQUEST_ID.fullmatch(id)
    if found is None and named is not None and abs(now_ms() - int(named[1], 16)) < _RECENT_MS:
        await options.flush()
        found = await store.feedback.find_subject(caller.project_id, id)
    if found is None:
        text = f"No request of this project has the id {id[:100]!r}; ids are in the header x-request-id of every answer."
        raise Fault("not_found", text, param="request_id")
    return found


async def _find(store: Store, caller: Caller, id: str, missing: Fault | None = None) -> Feedback:
    found = await store.feedback.find(caller.project_id, id)
    if found is None:
        raise missing or _missing(id)
    return found


def _missing(id: str) -> Fault:
    return Fault("not_found", f"No feedback of this project has the id {id[:64]!r}.", param="feedback_id")
