"""How long things are kept: the log, bodies and feedback, by project; nothing at all of a user who wants to be forgotten; and of an
organisation that is closed nothing but its log.

Roll-ups and the ledger stay: they name no person, and prove what was charged. Deleting goes in small steps, so that nobody waits long.
"""

import hashlib

import msgspec
from sqlalchemy import ColumnElement, Table, delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.storage.audit import record
from shoal.storage.bulk import storable
from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.kept_tables import bodies, feedback, files, responses
from shoal.storage.schema import api_keys, organisations, projects, requests
from shoal.storage.windows import DAY_MS

STEP_ROWS = 2_000
NO_RECEIPT = b"null"


class Forgotten(msgspec.Struct, frozen=True):
    """How many rows were about a user: log lines that name nobody now; bodies (and with them completions), stored responses, feedback and
    files that are gone."""

    requests: int
    bodies: int
    responses: int
    feedback: int = 0
    files: int = 0


class Retention:
    """What deletes. Every step is a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def expire(self, days: int | None) -> int:
        """Delete log lines, bodies and feedback older than their project says, or else than `days`; None keeps them. How many rows went.

        What the projects of closed organisations have kept is deleted whole, but for the log.
        """
        async with self._engine.connect() as connection:
            query = select(projects.c.id, projects.c.retention_days, organisations.c.closed_at_ms)
            rows = (await connection.execute(query.join(organisations, organisations.c.id == projects.c.org_id))).all()
        gone = 0
        for project_id, own, closed in rows:
            kept_days = days if own is None else own
            if kept_days is not None:
                before = now_ms() - kept_days * DAY_MS
                for table in (requests, bodies, feedback):
                    gone += await self._delete(table, (table.c.project_id == project_id) & (table.c.at_ms < before))
            if closed is not None:
                keys = select(api_keys.c.id).where(api_keys.c.project_id == project_id)
                gone += await self._delete(responses, responses.c.key_id.in_(keys))
                for table in (bodies, feedback, files):
                    gone += await self._delete(table, table.c.project_id == project_id)
        return gone

    async def forget(self, org_id: str, user_id: str, *, actor: str) -> Forgotten:
        """Remove what is stored of one of an organisation's users. What journals still hold must be folded before.

        The audit log, which forgets nothing, holds a hash of the user's id.
        """
        user_id = storable(user_id)
        digest = hashlib.sha256(f"{org_id}/{user_id}".encode("utf-8", "surrogatepass")).hexdigest()  # as datasets make it of what is stored
        own_keys = select(api_keys.c.id).where(api_keys.c.org_id == org_id)
        own_projects = select(projects.c.id).where(projects.c.org_id == org_id)
        kept, said, given = [
            await self._delete(table, (table.c.user_id == user_id) & table.c.project_id.in_(own_projects))
            for table in (bodies, feedback, files)
        ]
        theirs = (responses.c.user_id == user_id) & responses.c.key_id.in_(own_keys)
        stored = await self._delete(responses, theirs)
        named = (requests.c.user_id == user_id) & (requests.c.org_id == org_id)
        lines = 0
        while True:
            async with writing(self._engine).begin() as connection:
                ids = select(requests.c.request_id).where(named).limit(STEP_ROWS).scalar_subquery()
                blank = update(requests).where(requests.c.request_id.in_(ids)).values(user_id=None, receipt=NO_RECEIPT)
                count = (await connection.execute(blank)).rowcount
            lines += count
            if not count:
                break
        forgotten = Forgotten(lines, kept, stored, said, given)
        async with writing(self._engine).begin() as connection:
            await record(connection, actor, "user.forget", org_id, f"user:{digest[:16]}", msgspec.structs.asdict(forgotten))
        return forgotten

    async def _delete(self, table: Table, where: ColumnElement[bool]) -> int:
        keys = list(table.primary_key)
        gone = 0
        while True:
            async with writing(self._engine).begin() as connection:
                found = (await connection.execute(select(*keys).where(where).limit(STEP_ROWS))).all()
                if not found:
                    return gone
                last = keys[-1]
                await connection.execute(delete(table).where(last.in_([row[-1] for row in found]), where))
            gone += len(found)
