"""Students: the small models that were made from an organisation's traffic, as they lie on this machine; back by one call, and away.

A student's id is its name in a form that fits a path. Nothing of them is in the store but the acts: what is on the disk is what is served.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from litestar import Response, delete, get, post

from shoal.control.amounts import moment_text
from shoal.control.given import GivenActor, GivenOptions, GivenStore
from shoal.control.options import Options
from shoal.control.parameters import AGE, Cursor, Id, Limit, Page, paged, read_cursor
from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.core.students import StudentName, folder_of, name_in, parse_name
from shoal.mini import shelf
from shoal.mini.shelf import Published, ShelfError
from shoal.storage.store import Store

Done = TypeVar("Done")


class StudentView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a student. `model` is what requests name; `alias` names whichever version is `current`."""

    id: str
    model: str
    alias: str
    version: int
    current: bool
    kind: str
    base: str
    context_tokens: int
    organisation_id: str
    created_at: str | None


class Gone(msgspec.Struct, frozen=True):
    """What was deleted."""

    models: list[str]


@get("/organisations/{org_id:str}/students")
async def list_students(
    org_id: Id, actor: GivenActor, store: GivenStore, options: GivenOptions, limit: Limit = 50, cursor: Cursor = None
) -> Page[StudentView]:
    """List an organisation's students on this machine, every version, oldest first."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    after = read_cursor(cursor, AGE)
    rows = sorted(await _all(options, org_id), key=_mark)
    return paged([one for one in rows if after is None or _mark(one) > tuple(after)][: limit + 1], limit, show, _mark)


@post("/organisations/{org_id:str}/students/{student_id:str}/current", status_code=200)
async def make_student_current(
    org_id: Id, student_id: str, actor: GivenActor, store: GivenStore, options: GivenOptions
) -> Response[StudentView]:
    """Let an alias lead to this version; of an alias itself: back to the version that was current before."""
    actor.require("developer", org_id)
    name = await find_name(options, org_id, student_id)
    made = await _done(lambda: shelf.make_current(_home(options), str(name)))
    await store.audit.record(actor.name, "student.current", org_id, made, {"asked": str(name)})
    return Response(show(next(one for one in await _all(options, org_id) if one.id == made)))


@delete("/organisations/{org_id:str}/students/{student_id:str}", status_code=200)
async def delete_student(org_id: Id, student_id: str, actor: GivenActor, store: GivenStore, options: GivenOptions) -> Gone:
    """Delete a version; of an alias: all of them. Answers under way are finished."""
    actor.require("admin", org_id)
    name = await find_name(options, org_id, student_id)
    return Gone(await remove(options, store, actor.name, org_id, name))


HANDLERS = [list_students, make_student_current, delete_student]


async def find_name(options: Options, org_id: str, said: str) -> StudentName:
    """The name of an organisation's own student behind an id or a name. Errors: Fault not_found."""
    name = name_in(said) or parse_name(said)
    students = await _all(options, org_id)
    if name is None or not any(name in (one.name, one.name.alias) for one in students):
        raise Fault("not_found", f"There is no student {said[:100]!r} of this organisation on this machine.", param="student")
    return name


async def remove(options: Options, store: Store, actor: str, org_id: str, name: StudentName) -> list[str]:
    """Delete a version, or all behind an alias, and write it down; the names that are gone. Errors: Fault."""
    gone = await _done(lambda: shelf.delete(_home(options), str(name)))
    for one in gone:
        await store.audit.record(actor, "student.delete", org_id, one)
    return gone


async def _all(options: Options, org_id: str) -> list[Published]:
    """The organisation's own; those that name none are the operator's."""
    found = await asyncio.to_thread(shelf.list_students, _home(options))
    return [one for one in found if (one.card.org_id or OPERATOR) == org_id]


async def _done(work: Callable[[], Done]) -> Done:
    try:
        return await asyncio.to_thread(work)
    except ShelfError as error:
        raise Fault("conflict", f"{error}.", param="student") from None


def _home(options: Options) -> Path:
    if options.home is None:
        raise Fault("not_found", "This administration looks after no machine's students.", param="student")
    return options.home


def _mark(one: Published) -> tuple[int, str]:
    return (one.card.made_at * 1000, folder_of(one.id))


def show(one: Published) -> StudentView:
    """A version as it is shown."""
    return StudentView(
        id=folder_of(one.id),
        model=one.id,
        alias=str(one.name.alias),
        version=one.name.version or 0,
        current=one.current,
        kind=one.card.kind,
        base=one.card.base,
        context_tokens=one.card.context_tokens,
        organisation_id=one.card.org_id or OPERATOR,
        created_at=moment_text(one.card.made_at * 1000) if one.card.made_at else None,
    )
