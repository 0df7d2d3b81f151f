"""Stored chat completions (https://platform.openai.com/docs/api-reference/chat/list): a project's kept chats.

Each is the answer as its caller got it, with its request's id, parameters and metadata beside.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import JSONBody, Parameter

from shoal.control.callers.given import GivenCaller
from shoal.control.callers.lists import After, Deleted, Limit, ListOf, Order, list_of, no_such_mark, read_labels
from shoal.control.given import GivenStore
from shoal.control.parameters import Id
from shoal.core.caller import Caller
from shoal.core.chat import Metadata, members_of
from shoal.core.errors import Fault
from shoal.storage.completions import Completion, Sought
from shoal.storage.store import Store

CompletionId = Annotated[str, Parameter(min_length=1, max_length=256)]
_ASKED = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "tools", "tool_choice", "response_format")
_NULL = msgspec.Raw(b"null")


class Change(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a stored completion; null takes its metadata away."""

    metadata: Metadata | None


@get("/chat/completions")
async def list_completions(
    request: Request[Any, Any, Any],
    caller: GivenCaller,
    store: GivenStore,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    model: Annotated[str | None, Parameter(max_length=512)] = None,
) -> ListOf:
    """List what is stored, oldest first, by model and by `metadata[NAME]=VALUE`."""
    mark = None if after is None else (await _find(store, caller, after, no_such_mark(after))).mark
    sought = Sought(project_id=caller.project_id, model=model, labels=read_labels(request))
    page = await store.completions.page(sought, after=mark, limit=limit, newest_first=order == "desc")
    return list_of([show(one) for one in page.completions], [one.id for one in page.completions], page.more)


@get("/chat/completions/{completion_id:str}")
async def get_completion(completion_id: CompletionId, caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Show one."""
    return show(await _find(store, caller, completion_id))


@post("/chat/completions/{completion_id:str}", status_code=200)
async def update_completion(completion_id: CompletionId, data: JSONBody[Change], caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Give one other metadata."""
    await store.completions.label(caller.project_id, completion_id, data.metadata or {})
    return show(await _find(store, caller, completion_id))


@delete("/chat/completions/{completion_id:str}", status_code=200)
async def delete_completion(completion_id: CompletionId, caller: GivenCaller, store: GivenStore) -> Deleted:
    """Delete one, and what was asked with it."""
    if not await store.completions.delete(caller.project_id, completion_id):
        raise _missing(completion_id)
    return Deleted(completion_id, "chat.completion.deleted")


@get("/chat/completions/{completion_id:str}/messages")
async def list_messages(
    completion_id: CompletionId, caller: GivenCaller, store: GivenStore, after: Id | None = None, limit: Limit = 20, order: Order = "asc"
) -> ListOf:
    """List the messages that were sent with one; the answer is in the completion itself."""
    found = await _find(store, caller, completion_id)
    messages = msgspec.json.decode(members_of(found.request).get("messages", _NULL)) or []
    shown = [_show_message(f"{found.id}-{number}", message) for number, message in enumerate(messages) if isinstance(message, dict)]
    if order == "desc":
        shown.reverse()
    ids = [message["id"] for message in shown]
    if after is not None and after not in ids:
        raise no_such_mark(after)
    start = 0 if after is None else ids.index(after) + 1
    return list_of(shown[start : start + limit], ids[start : start + limit], len(ids) > start + limit)


HANDLERS = [list_completions, get_completion, update_completion, delete_completion, list_messages]


def show(one: Completion) -> dict[str, Any]:
    """A completion as it is shown."""
    answer, asked = members_of(one.response), members_of(one.request)
    more = {name: asked.get(name, _NULL) for name in _ASKED}
    return {**answer, "id": one.id, "request_id": one.request_id, "metadata": one.labels, "input_user": one.user_id or None, **more}


def _show_message(id: str, message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    if parts is not None:
        texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "\n".join(texts) if texts else None
    return {"name": None, **message, "id": id, "content": content, "content_parts": parts}


async def _find(store: Store, caller: Caller, id: str, missing: Fault | None = None) -> Completion:
    found = await store.completions.find(caller.project_id, id)
    if found is None:
        raise missing or _missing(id)
    return found


def _missing(id: str) -> Fault:
    text = (
        f"No stored completion has the id {id[:100]!r}: it was not stored (`store: true` does that), is past its retention, or was deleted."
    )
    return Fault("not_found", text, param="completion_id")
