"""What the database says, for whoever asked: that it is away or busy (come back), or that it cannot hold what was sent (do not)."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault

_DATA_EXCEPTION = "22"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)


class ReachedEngine(AsyncEngine):
    """The same engine and pool, which raises Fault(overloaded) while its database cannot be reached, is locked, or has no room, and
    Fault(invalid_value) for texts and numbers that no column can hold."""

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
        if _is_unfit(error):
            raise _unfit() from error
        if isinstance(error, _BUSY) or error.connection_invalidated:
            raise _away() from error
        raise
    except (OverflowError, UnicodeEncodeError) as error:  # SQLite's driver, of the same
        raise _unfit() from error
    except _BUSY as error:
        raise _away() from error


def _is_unfit(error: exc.DBAPIError) -> bool:
    """Whether it is about a value: asyncpg refuses it (a ValueError), or PostgreSQL does (class 22, data exception)."""
    cause = error.orig.__cause__ if error.orig is not None else None
    return isinstance(cause, ValueError) or str(getattr(error.orig, "sqlstate", None)).startswith(_DATA_EXCEPTION)


def _unfit() -> Fault:
    text = "A text or number cannot be stored or looked for: texts hold no zero bytes and no lone surrogates, numbers fit into 64 bits."
    return Fault("invalid_value", text)


def _away() -> Fault:
    text = "The store cannot be reached or is busy, so this cannot be answered now; try again shortly."
    return Fault("overloaded", text, retry_after_s=1)
