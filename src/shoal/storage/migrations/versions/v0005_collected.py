"""Stored completions with their labels, feedback, files; and whether what a project keeps may teach a model."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables. No project has consented yet."""
    op.add_column("projects", sa.Column("may_train", sa.Boolean, nullable=False, server_default=sa.false()))
    _create_completions()
    _create_feedback()
    _create_files()


def downgrade() -> None:
    """Drop them, with all that is in them; bodies stay."""
    for table in ("file_parts", "files", "feedback", "completion_labels", "completions"):
        op.drop_table(table)
    op.drop_column("projects", "may_train")


def _create_completions() -> None:
    op.create_table(
        "completions",
        sa.Column("request_id", sa.Text, sa.ForeignKey("bodies.request_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("requested_model", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("asked", sa.Boolean, nullable=False),
    )
    op.create_index("completions_id", "completions", ["project_id", "id"], unique=True)
    op.create_index("completions_at", "completions", ["project_id", "at_ms", "request_id"])
    op.create_index("completions_model", "completions", ["project_id", "model", "at_ms", "request_id"])
    op.create_index("completions_requested", "completions", ["project_id", "requested_model", "at_ms", "request_id"])
    op.create_table(
        "completion_labels",
        sa.Column("request_id", sa.Text, sa.ForeignKey("completions.request_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("completion_labels_value", "completion_labels", ["project_id", "name", "value", "at_ms", "request_id"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("label", sa.Text),
        sa.Column("comment", sa.Text),
        sa.Column("correction", sa.LargeBinary),
    )
    op.create_index("feedback_request", "feedback", ["request_id", "key_id"], unique=True)
    op.create_index("feedback_project_at", "feedback", ["project_id", "at_ms", "id"])
    op.create_index("feedback_user", "feedback", ["user_id"], **_only("user_id IS NOT NULL"))


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("whole", sa.Boolean, nullable=False),
    )
    op.create_index("files_project_at", "files", ["project_id", "created_at_ms", "id"])
    op.create_index("files_expiry", "files", ["expires_at_ms"], **_only("expires_at_ms IS NOT NULL"))
    op.create_index("files_user", "files", ["user_id"], **_only("user_id IS NOT NULL"))
    op.create_table(
        "file_parts",
        sa.Column("file_id", sa.Text, sa.ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _only(where: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
