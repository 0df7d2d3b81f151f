"""Keys, the request log, its roll-up by day, and how far the journal is folded."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    _create_keys()
    _create_requests()
    _create_roll_up()
    op.create_table(
        "journal_offsets",
        sa.Column("segment", sa.Text, primary_key=True),
        sa.Column("folded_bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them, with everything in them."""
    for table in ("journal_offsets", "usage_days", "requests", "api_keys"):
        op.drop_table(table)


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
    )
    active = sa.text("revoked_at_ms IS NULL")
    op.create_index("api_keys_active_name", "api_keys", ["name"], unique=True, sqlite_where=active, postgresql_where=active)


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("key_id", "endpoint", "requested_model", "model", "provider", "deployment")
        ),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        *(sa.Column(f"{kind}_tokens", sa.BigInteger) for kind in ("input", "output", "cache_read", "cache_write", "reasoning")),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("overhead_us", sa.BigInteger, nullable=False),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
    )
    op.create_index("requests_key_at", "requests", ["key_id", "at_ms"])


def _create_roll_up() -> None:
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("requests", "errors", "unpriced")),
        *(
            sa.Column(f"{kind}_tokens", sa.BigInteger, nullable=False)
            for kind in ("input", "output", "cache_read", "cache_write", "reasoning")
        ),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
