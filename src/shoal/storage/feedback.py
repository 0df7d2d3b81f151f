"""What callers thought of answers: a score, a label, a comment, or the answer that would have been better.

Each key has one word on a request, the last it said. A request is of its project alone; to any other it is not there.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, exc, insert, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.storage.bulk import storable
from shoal.storage.database import writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.kept_tables import bodies, completions, feedback
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import requests


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What is thought of an answer. `score` lies between -1, as bad as can be, and 1; `correction` is a message as JSON."""

    score: float | None = None
    label: str | None = None
    comment: str | None = None
    correction: bytes | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One key's opinion of what one request was answered; `user_id` is for whom the request was."""

    id: str
    request_id: str
    project_id: str
    key_id: str
    user_id: str
    at_ms: int
    opinion: Opinion

    @property
    def mark(self) -> Mark:
        """Its place in the order of time."""
        return (self.at_ms, self.id)


class Subject(msgspec.Struct, frozen=True):
    """A request that an opinion may be about."""

    request_id: str
    user_id: str


class Feedbacks:
    """The feedback to all projects."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find_subject(self, project_id: str, id: str) -> Subject | None:
        """The request of a project by its id, or by that of the completion that answered it; what journals hold is not seen."""
        by_request = select(requests.c.request_id, requests.c.user_id).where(requests.c.request_id == id)
        kept = select(bodies.c.request_id, bodies.c.user_id).join(completions, completions.c.request_id == bodies.c.request_id)
        queries = (
            by_request.where(requests.c.project_id == project_id),
            *(kept.where(completions.c.project_id == project_id, column == id) for column in (completions.c.id, completions.c.request_id)),
        )
        async with self._engine.connect() as connection:
            for query in queries:
                if (row := (await connection.execute(query)).first()) is not None:
                    return Subject(row.request_id, row.user_id or "")
        return None

    async def give(self, project_id: str, key_id: str, subject: Subject, opinion: Opinion) -> Feedback:
        """Say what a key thinks of an answer; it takes the place of what the key has said before."""
        try:
            return await self._give(project_id, key_id, subject, opinion)
        except exc.IntegrityError:  # it has just been said elsewhere, which is seen now
            return await self._give(project_id, key_id, subject, opinion)

    async def _give(self, project_id: str, key_id: str, subject: Subject, opinion: Opinion) -> Feedback:
        said = msgspec.structs.asdict(opinion) | {"label": storable(opinion.label), "comment": storable(opinion.comment)}
        change: dict[str, Any] = said | {"at_ms": now_ms(), "user_id": storable(subject.user_id) or None}
        where = (feedback.c.request_id == subject.request_id) & (feedback.c.key_id == key_id)
        async with writing(self._engine).begin() as connection:
            id = (await connection.execute(select(feedback.c.id).where(where).with_for_update())).scalar()
            if id is None:
                row = {"id": new_id("fb_"), "request_id": subject.request_id, "key_id": key_id, "project_id": project_id}
                id = row["id"]
                await connection.execute(insert(feedback).values(**row | change))
            else:
                await connection.execute(update(feedback).where(where).values(**change))
            return _feedback((await connection.execute(select(feedback).where(feedback.c.id == id))).one())

    async def find(self, project_id: str, id: str) -> Feedback | None:
        """One; None when the project has none such."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(feedback).where(_is(project_id, id)))).first()
        return None if row is None else _feedback(row)

    async def page(
        self, project_id: str, *, request_id: str | None = None, after: Mark | None = None, limit: int = 100, newest_first: bool = False
    ) -> list[Feedback]:
        """At most `limit` of what a project was told behind the mark `after`, in the order of time; of one request, where it is named."""
        query = select(feedback).where(feedback.c.project_id == project_id)
        query = query if request_id is None else query.where(feedback.c.request_id == request_id)
        query = cut(query, (feedback.c.at_ms, feedback.c.id), after, limit, newest_first=newest_first)
        async with self._engine.connect() as connection:
            return [_feedback(row) for row in await connection.execute(query)]

    async def about(self, project_id: str, request_ids: Sequence[str]) -> dict[str, list[Feedback]]:
        """What was said of these requests, oldest first; those of which nothing was said are left out."""
        query = select(feedback).where(feedback.c.project_id == project_id, feedback.c.request_id.in_(request_ids))
        found: dict[str, list[Feedback]] = {}
        async with self._engine.connect() as connection:
            for row in await connection.execute(query.order_by(feedback.c.at_ms, feedback.c.id)):
                found.setdefault(row.request_id, []).append(_feedback(row))
        return found

    async def delete(self, project_id: str, id: str) -> bool:
        """Take one back; False when the project has none such."""
        async with writing(self._engine).begin() as connection:
            return (await connection.execute(delete_from(feedback).where(_is(project_id, id)))).rowcount > 0


def _is(project_id: str, id: str) -> ColumnElement[bool]:
    return (feedback.c.project_id == project_id) & (feedback.c.id == id)


def _feedback(row: Row[Any]) -> Feedback:
    opinion = Opinion(score=row.score, label=row.label, comment=row.comment, correction=row.correction)
    ids = {name: getattr(row, name) for name in ("id", "request_id", "project_id", "key_id", "at_ms")}
    return Feedback(**ids, user_id=row.user_id or "", opinion=opinion)
