"""A store that is away or busy is no fault of whoever waits for it: it is told to come back, with the one error that says so."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault

_BUSY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)


class ReachedEngine(AsyncEngine):
    """The same engine and pool, which raises Fault(overloaded) while its database cannot be reached, is locked, or has no room."""

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:  # type: ignore[override]
        """A connection, given back at the end. Errors: Fault overloaded."""
        with _telling():
            async with AsyncEngine(self.sync_engine).connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end. Errors: Fault overloaded."""
        with _telling():
            async with AsyncEngine(self.sync_engine).begin() as connection:
                yield connection

    def execution_options(self, **options: Any) -> "ReachedEngine":
        """The same engine with these options."""
        return ReachedEngine(self.sync_engine.execution_options(**options))


@contextlib.contextmanager
def _telling() -> Any:
    try:
        yield
    except exc.DBAPIError as error:
        if isinstance(error, _BUSY) or error.connection_invalidated:
            raise _away() from error
        raise
    except _BUSY as error:
        raise _away() from error


def _away() -> Fault:
    text = "The store cannot be reached or is busy, so this cannot be answered now; try again shortly."
    return Fault("overloaded", text, retry_after_s=1)
