"""The tables of what is kept of requests and for them: responses, bodies, completions, feedback, files."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from shoal.storage.schema import metadata, partial

responses = Table(
    "responses",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("previous_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("input", LargeBinary, nullable=False),  # a JSON array: the request's own items
    Column("response", LargeBinary, nullable=False),  # the JSON object as the caller got it
    Column("user_id", Text),
    Index("responses_expiry", "expires_at_ms"),
)
partial("responses_user", responses, "user_id", where="user_id IS NOT NULL")

response_items = Table(
    "response_items",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("response_id", Text, nullable=False),
    ForeignKeyConstraint(["key_id", "response_id"], ["responses.key_id", "responses.id"], ondelete="CASCADE"),
    Index("response_items_response", "key_id", "response_id"),
    sqlite_with_rowid=False,
)

bodies = Table(
    "bodies",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("user_id", Text),
    Column("at_ms", BigInteger, nullable=False),
    Column("request", LargeBinary, nullable=False),  # both compressed
    Column("response", LargeBinary, nullable=False),
    Index("bodies_project_at", "project_id", "at_ms"),
)
partial("bodies_user", bodies, "user_id", where="user_id IS NOT NULL")

completions = Table(  # what is known of a chat whose bodies are kept, so that it can be found
    "completions",
    metadata,
    Column("request_id", Text, ForeignKey("bodies.request_id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("id", Text, nullable=False),  # the one in the answer
    Column("at_ms", BigInteger, nullable=False),
    Column("requested_model", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("asked", Boolean, nullable=False),  # for by `store: true`, and not only by the project
    Index("completions_id", "project_id", "id", unique=True),
    Index("completions_at", "project_id", "at_ms", "request_id"),
    Index("completions_model", "project_id", "model", "at_ms", "request_id"),
    Index("completions_requested", "project_id", "requested_model", "at_ms", "request_id"),
)

completion_labels = Table(  # their `metadata`
    "completion_labels",
    metadata,
    Column("request_id", Text, ForeignKey("completions.request_id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("completion_labels_value", "project_id", "name", "value", "at_ms", "request_id"),
    sqlite_with_rowid=False,
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),  # whose word it is
    Column("project_id", Text, nullable=False),
    Column("user_id", Text),  # of the request
    Column("at_ms", BigInteger, nullable=False),
    Column("score", Float),
    Column("label", Text),
    Column("comment", Text),
    Column("correction", LargeBinary),  # a JSON object: the message that would have been better
    Index("feedback_request", "request_id", "key_id", unique=True),
    Index("feedback_project_at", "project_id", "at_ms", "id"),
)
partial("feedback_user", feedback, "user_id", where="user_id IS NOT NULL")

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("user_id", Text),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of its bytes
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("whole", Boolean, nullable=False),  # or its parts are still being written
    Index("files_project_at", "project_id", "created_at_ms", "id"),
)
partial("files_expiry", files, "expires_at_ms", where="expires_at_ms IS NOT NULL")
partial("files_user", files, "user_id", where="user_id IS NOT NULL")

file_parts = Table(
    "file_parts",
    metadata,
    Column("file_id", Text, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),  # compressed
)
