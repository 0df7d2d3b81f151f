"""Jobs that make students, and what was said of them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables."""
    _create_jobs()


def downgrade() -> None:
    """Drop them: students that were made stay where they are."""
    for table in ("fine_tuning_checkpoints", "fine_tuning_events", "fine_tuning_jobs"):
        op.drop_table(table)


def _create_jobs() -> None:
    op.create_table(
        "fine_tuning_jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("project_id", sa.Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("training_file", sa.Text),
        sa.Column("validation_file", sa.Text),
        sa.Column("suffix", sa.Text),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("renewed_at_ms", sa.BigInteger),
        sa.Column("estimated_finish_ms", sa.BigInteger),
        sa.Column("finished_at_ms", sa.BigInteger),
        sa.Column("fine_tuned_model", sa.Text),
        sa.Column("trained_tokens", sa.BigInteger),
        sa.Column("result_files", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("fine_tuning_jobs_project", "fine_tuning_jobs", ["project_id", "created_at_ms", "id"])
    where = sa.text("status IN ('queued', 'running')")
    op.create_index("fine_tuning_jobs_open", "fine_tuning_jobs", ["created_at_ms", "id"], sqlite_where=where, postgresql_where=where)
    job = ("fine_tuning_jobs.id", "CASCADE")
    op.create_table(
        "fine_tuning_events",
        sa.Column("job_id", sa.Text, sa.ForeignKey(job[0], ondelete=job[1]), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fine_tuning_checkpoints",
        sa.Column("job_id", sa.Text, sa.ForeignKey(job[0], ondelete=job[1]), primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
