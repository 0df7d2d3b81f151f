"""What was asked and answered, for projects and callers that want it kept: gathered on the path, stored beside it.

Who asked for it waits until it is stored; nobody else does, and nobody for long. What cannot be stored is tried again; what is too long is
left out, and so is the newest where more waits than may; the log says so.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.gateway.call import Call
from shoal.storage.bodies import MOST_BYTES, Body, Chat
from shoal.wire.openai_chat import whole

log = logging.getLogger("shoal.gateway")

FOLLOW_S = 0.5
PATIENCE_S = 3.0
"""How long an answer is held back by a store that does not keep it."""

MOST_WAITING_BYTES = 64 * 1024 * 1024
_PORTION = 100  # bodies a transaction


def wants_storing(call: Call) -> bool:
    """Whether its caller said `store: true` of a chat completion."""
    return call.request.fields.store is True and call.endpoint.name == "chat"


class _Waiting(msgspec.Struct, eq=False):
    body: Body
    usage: Usage | None  # what was settled, of a stream that is to be made whole
    n: int  # its choices; 0: it is as it is to be kept
    stored: "asyncio.Future[None] | None" = None  # for who waits for it

    @property
    def size(self) -> int:
        return len(self.body.request) + len(self.body.response)


class Bodies:
    """The bodies that wait to be stored. `projects` are the ids of those that want theirs kept, as of FOLLOW_S ago."""

    def __init__(self, find_projects: Callable[[], Awaitable[frozenset[str]]], save: Callable[[Sequence[Body]], Awaitable[int]]) -> None:
        self._find_projects = find_projects
        self._save = save
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._flushing = asyncio.Lock()
        self._hurry = asyncio.Event()
        self.projects: frozenset[str] = frozenset()

    def add(self, call: Call, response: bytes) -> bool:
        """Keep a request and the answer that its caller got. False: too much waits already."""
        one = _describe(call, response)
        if max(len(one.body.request), len(response)) > MOST_BYTES:
            log.error("the bodies of the request %s are not kept: they are too long", call.id)
            return False
        if self._bytes + one.size > MOST_WAITING_BYTES:
            log.error("the bodies of the request %s are not kept: too many wait for the store", call.id)
            return False
        self._bytes += one.size
        self._waiting.append(one)
        return True

    async def keep(self, call: Call, response: bytes) -> None:
        """The same, and wait until it is stored; no longer than PATIENCE_S, after which it is stored as soon as may be."""
        if not self.add(call, response):
            return
        loop = asyncio.get_running_loop()
        stored = self._waiting[-1].stored = loop.create_future()
        patience = loop.call_later(PATIENCE_S, _tell, stored)  # who serves a request is no task, which asyncio.timeout would need
        self._hurry.set()
        try:
            await stored
        finally:
            patience.cancel()

    async def follow(self) -> None:
        """Store what waits, and see who wants what kept, for ever. Errors: what the store raises; what waited still does."""
        looked_at = float("-inf")
        while True:
            if time.monotonic() - looked_at >= FOLLOW_S:
                self.projects, looked_at = await self._find_projects(), time.monotonic()
            self._hurry.clear()
            await self.flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), FOLLOW_S)

    async def flush(self) -> None:
        """Store all that waits now."""
        async with self._flushing:
            while portion := self._waiting[:_PORTION]:
                await self._save(await asyncio.to_thread(_finish, portion))
                del self._waiting[: len(portion)]
                self._bytes -= sum(one.size for one in portion)
                for one in portion:
                    _tell(one.stored)


def _tell(stored: "asyncio.Future[None] | None") -> None:
    if stored is not None and not stored.done():
        stored.set_result(None)


def _describe(call: Call, response: bytes) -> _Waiting:
    request, who = call.request, call.principal
    body = Body(call.id, who.key_id, who.project_id, request.user[:512], int(call.at_s * 1000), request.body, response)
    deployment = call.deployment
    if call.endpoint.name != "chat" or deployment is None:
        return _Waiting(body, None, 0)
    chat = Chat("", wants_storing(call), request.model[:512], deployment.model, deployment.provider, request.fields.metadata or {})
    usage = None if call.attempt is None else call.attempt.usage
    return _Waiting(msgspec.structs.replace(body, chat=chat), usage, (request.fields.n or 1) if request.stream else 0)


def _finish(portion: Sequence[_Waiting]) -> list[Body]:
    """Bodies as they are stored."""
    return [one.body if one.body.chat is None else _finish_chat(one, one.body.chat) for one in portion]


def _finish_chat(one: _Waiting, chat: Chat) -> Body:
    """A chat's answer whole, however it was given."""
    body = one.body
    try:
        response = whole.fold_stream(body.response, one.usage, one.n) if one.n else body.response
    except (Fault, msgspec.MsgspecError) as error:
        log.error("the stream that answered %s cannot be read again, and is kept as it is: %s", body.request_id, error)
        return msgspec.structs.replace(body, chat=None)
    return msgspec.structs.replace(body, response=response, chat=msgspec.structs.replace(chat, id=whole.id_of(response)))
