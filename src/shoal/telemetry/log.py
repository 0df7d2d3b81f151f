"""What operators read: one line an event on standard error, with time and level; bodies and secrets never are among it."""

import logging
import sys


def configure(level: int = logging.INFO) -> None:
    """Log to standard error; the libraries only when something is wrong."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn.error", "asyncio", "aiosqlite", "sqlalchemy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
