"""What is in a store, asked of its database itself."""

from typing import Any

from shoal.storage.store import Store


async def query(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """Rows, by a statement that every database understands."""
    async with store.engine.connect() as connection:
        return [tuple(row) for row in await connection.exec_driver_sql(sql)]
