"""What was asked and answered, for projects that want it kept: gathered on the path, stored beside it.

Nothing waits for the store. What cannot be stored is tried again; where more waits than may, the newest is left out, and the log says so.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from shoal.gateway.call import Call
from shoal.storage.bodies import Body

log = logging.getLogger("shoal.gateway")

FOLLOW_S = 0.5
MOST_WAITING_BYTES = 64 * 1024 * 1024
_PORTION = 100  # bodies a transaction


class Bodies:
    """The bodies that wait to be stored. `projects` are the ids of those that want theirs kept, as of FOLLOW_S ago."""

    def __init__(self, find_projects: Callable[[], Awaitable[frozenset[str]]], save: Callable[[Sequence[Body]], Awaitable[int]]) -> None:
        self._find_projects = find_projects
        self._save = save
        self._waiting: list[Body] = []
        self._bytes = 0
        self.projects: frozenset[str] = frozenset()

    def add(self, call: Call, response: bytes) -> None:
        """Keep a request and the answer that its caller got."""
        size = len(call.request.body) + len(response)
        if self._bytes + size > MOST_WAITING_BYTES:
            log.error("the bodies of the request %s are not kept: too many wait for the store", call.id)
            return
        self._bytes += size
        who, user = call.principal, call.request.user[:512]
        self._waiting.append(Body(call.id, who.key_id, who.project_id, user, int(call.at_s * 1000), call.request.body, response))

    async def follow(self) -> None:
        """Store what waits, and see who wants what kept, for ever. Errors: what the store raises; what waited still does."""
        while True:
            self.projects = await self._find_projects()
            await self.flush()
            await asyncio.sleep(FOLLOW_S)

    async def flush(self) -> None:
        """Store all that waits now."""
        while self._waiting:
            portion = self._waiting[:_PORTION]
            await self._save(portion)
            del self._waiting[: len(portion)]
            self._bytes -= sum(len(one.request) + len(one.response) for one in portion)
