"""The tables of jobs that make students; as schema.py's, of the newest migration."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, text

from shoal.storage.schema import metadata

_OPEN = text("status IN ('queued', 'running')")

fine_tuning_jobs = Table(
    "fine_tuning_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("key_id", Text, nullable=False),  # of whoever made it
    Column("created_at_ms", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("training_file", Text),  # NULL: from the log
    Column("validation_file", Text),
    Column("suffix", Text),
    Column("seed", BigInteger, nullable=False),
    Column("method", Text, nullable=False),  # JSON, as this and the next one
    Column("metadata", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # how often it was taken up
    Column("holder", Text),  # the home whose trainer works on it
    Column("renewed_at_ms", BigInteger),
    Column("estimated_finish_ms", BigInteger),
    Column("finished_at_ms", BigInteger),
    Column("fine_tuned_model", Text),
    Column("trained_tokens", BigInteger),
    Column("result_files", Text, nullable=False),  # a JSON array
    Column("error", Text),  # a JSON object
    Index("fine_tuning_jobs_project", "project_id", "created_at_ms", "id"),
    Index("fine_tuning_jobs_open", "created_at_ms", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

fine_tuning_events = Table(
    "fine_tuning_events",
    metadata,
    Column("job_id", Text, ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("kind", Text, nullable=False),  # message or metrics
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),  # a JSON object
    sqlite_with_rowid=False,
)

fine_tuning_checkpoints = Table(
    "fine_tuning_checkpoints",
    metadata,
    Column("job_id", Text, ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("metrics", Text, nullable=False),  # a JSON object
    sqlite_with_rowid=False,
)
