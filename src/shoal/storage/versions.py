"""Changes of what several people may change at once: each says which version it saw, and the second of two is told.

What belongs to another organisation is not found, like what does not exist: an id says nothing to who may not have it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.errors import Fault

_JSON_COLUMNS = ("markups", "terms")
_UNSAID = ("version", "hash", "hint", "revision")


class Changed(NamedTuple):
    """A row before and after a change."""

    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def detail(self) -> dict[str, dict[str, Any]]:
        """What the audit log holds of it: the fields that differ, as they were and as they are. Nothing of a secret is among them."""
        names = [name for name, value in self.after.items() if name not in _UNSAID and value != self.before[name]]
        return {when: {name: _shown(name, row[name]) for name in names} for when, row in (("before", self.before), ("after", self.after))}


def _shown(name: str, value: Any) -> Any:
    return msgspec.Raw(value.encode()) if name in _JSON_COLUMNS else value


async def find_row(connection: AsyncConnection, table: Table, where: ColumnElement[bool], missing: Fault) -> dict[str, Any]:
    """The one row. Errors: Fault `missing`."""
    row = (await connection.execute(select(table).where(where))).mappings().first()
    if row is None:
        raise missing
    return {**row}


async def change_row(
    connection: AsyncConnection, table: Table, where: ColumnElement[bool], version: int, change: Mapping[str, object], missing: Fault
) -> Changed:
    """Change the one row, if it still has this version. Errors: Fault `missing`, or conflict."""
    row = (await connection.execute(select(table).where(where).with_for_update())).mappings().first()
    if row is None:
        raise missing
    if row["version"] != version:
        text = f"It has been changed meanwhile: this is about version {version}, and it is at {row['version']}. Read it again, and repeat."
        raise Fault("conflict", text, param="version")
    values = {**change, "version": version + 1}
    await connection.execute(update(table).where(where).values(**values))
    return Changed({**row}, {**row, **values})


def given(edit: msgspec.Struct) -> dict[str, Any]:
    """The fields of an edit that were given."""
    fields = ((name, getattr(edit, name)) for name in edit.__struct_fields__)
    return {name: value for name, value in fields if value is not msgspec.UNSET}
