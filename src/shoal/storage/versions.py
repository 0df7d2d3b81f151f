"""Changes of what several people may change at once: each says which version it saw, and the second of two is told.

What belongs to another organisation is not found, like what does not exist: an id says nothing to who may not have it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.errors import Fault


async def find_row(connection: AsyncConnection, table: Table, where: ColumnElement[bool], missing: Fault) -> dict[str, Any]:
    """The one row. Errors: Fault `missing`."""
    row = (await connection.execute(select(table).where(where))).mappings().first()
    if row is None:
        raise missing
    return {**row}


async def change_row(
    connection: AsyncConnection, table: Table, where: ColumnElement[bool], version: int, change: Mapping[str, object], missing: Fault
) -> dict[str, Any]:
    """Change the one row, if it still has this version, and give it as it is then. Errors: Fault `missing`, or conflict."""
    row = (await connection.execute(select(table).where(where).with_for_update())).mappings().first()
    if row is None:
        raise missing
    if row["version"] != version:
        text = f"It has been changed meanwhile: this is about version {version}, and it is at {row['version']}. Read it again, and repeat."
        raise Fault("conflict", text, param="version")
    values = {**change, "version": version + 1}
    await connection.execute(update(table).where(where).values(**values))
    return {**row, **values}


def given(edit: msgspec.Struct) -> dict[str, Any]:
    """The fields of an edit that were given."""
    fields = ((name, getattr(edit, name)) for name in edit.__struct_fields__)
    return {name: value for name, value in fields if value is not msgspec.UNSET}
