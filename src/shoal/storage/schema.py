"""The tables, as the newest migration leaves them; a test holds the two together.

Columns are narrow and rows few: the ledger is meant to hold tens of millions of requests, and pages read the roll-up, never the log.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, MetaData, Table, Text, text

HEAD: Final = "0003"
"""The migration this release expects."""

metadata = MetaData()

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret, 32 bytes
    Column("hint", Text, nullable=False),  # the secret's last four characters
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("revision", BigInteger, nullable=False, unique=True),  # of the whole table: the greatest is the newest change
)
Index(
    "api_keys_active_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=text("revoked_at_ms IS NULL"),
    postgresql_where=text("revoked_at_ms IS NULL"),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("requested_model", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_nano", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("overhead_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("duration_us", BigInteger, nullable=False),
    Column("error_code", Text),
    Column("receipt", LargeBinary, nullable=False),  # last, so that reading the other columns does not touch it
    Index("requests_key_at", "key_id", "at_ms"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),  # requests whose cost is not known: cost_nano leaves them out
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

journal_offsets = Table(
    "journal_offsets",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("folded_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

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
    Index("responses_expiry", "expires_at_ms"),
)

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

provider_keys = Table(
    "provider_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # a nonce of 12 bytes and AES-256-GCM's text, bound to provider and id
    Column("hint", Text, nullable=False),  # the key's last four characters
    Column("created_at_ms", BigInteger, nullable=False),
)
