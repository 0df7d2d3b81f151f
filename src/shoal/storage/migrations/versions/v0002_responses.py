"""Stored responses, and which of them holds an item."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "responses",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("previous_id", sa.Text),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
    )
    op.create_index("responses_expiry", "responses", ["expires_at_ms"])
    op.create_table(
        "response_items",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["key_id", "response_id"], ["responses.key_id", "responses.id"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("response_items_response", "response_items", ["key_id", "response_id"])


def downgrade() -> None:
    """Drop them, with every stored response."""
    op.drop_table("response_items")
    op.drop_table("responses")
