"""The tables, as the newest migration leaves them; a test holds the two together.

Columns are narrow and rows few: the ledger is meant to hold tens of millions of requests, and pages read the roll-up, never the log.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

HEAD: Final = "0006"
"""The migration this release expects."""

DEFAULT_PROJECT: Final = "proj_default"
"""The project of the operator's organisation that is always there."""

metadata = MetaData()


def partial(name: str, table: Table, *columns: str, where: str, unique: bool = False) -> None:
    """An index of the rows that fulfil `where` alone."""
    Index(name, *(table.c[column] for column in columns), unique=unique, sqlite_where=text(where), postgresql_where=text(where))


def _unique(name: str, table: Table, *columns: str, where: str) -> None:
    partial(name, table, *columns, where=where, unique=True)


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
    Column("org_id", Text, nullable=False, server_default="org_operator"),
    Column("project_id", Text, nullable=False, server_default="proj_default"),
    Column("member_id", Text),
    Column("kind", Text, nullable=False, server_default="inference"),  # or admin
    Column("terms", Text, nullable=False, server_default="{}"),  # JSON of core.terms.Terms
    Column("expires_at_ms", BigInteger),
    Column("replaced_by", Text),  # this row is an earlier secret of that key, good until it expires
    Column("version", BigInteger, nullable=False, server_default="1"),
    Index("api_keys_org", "org_id", "created_at_ms"),
)
_unique("api_keys_active_name", api_keys, "org_id", "name", where="revoked_at_ms IS NULL AND replaced_by IS NULL")

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
    Column("receipt", LargeBinary, nullable=False),
    Column("charged_nano", BigInteger),  # what the organisation pays; NULL where nothing is counted
    Column("org_id", Text, nullable=False, server_default="org_operator"),
    Column("project_id", Text, nullable=False, server_default="proj_default"),
    Column("user_id", Text),  # for whom the caller asked, in its own words
    Index("requests_key_at", "key_id", "at_ms"),
    Index("requests_project_at", "project_id", "at_ms"),
)
partial("requests_user", requests, "user_id", where="user_id IS NOT NULL")


def _usage(name: str, owner: str) -> Table:
    """What `owner` used of each model on each day: days since 1970-01-01, UTC."""
    return Table(
        name,
        metadata,
        Column(owner, Text, primary_key=True),
        Column("day", Integer, primary_key=True, autoincrement=False),
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
        Column("charged_nano", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


usage_days = _usage("usage_days", "key_id")
project_usage_days = _usage("project_usage_days", "project_id")

journal_offsets = Table(
    "journal_offsets",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("folded_bytes", BigInteger, nullable=False),
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

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("prepaid", Boolean, nullable=False),
    Column("markup_ppm", BigInteger, nullable=False),  # charged above cost, in millionths
    Column("markups", Text, nullable=False),  # a JSON object: the same, by a model's name or route/NAME
    Column("free_monthly_nano", BigInteger, nullable=False),
    Column("low_balance_nano", BigInteger),  # below it there is an alert
    Column("created_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger),
    Column("version", BigInteger, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("keep_bodies", Boolean, nullable=False),
    Column("retention_days", Integer),  # NULL: as the installation does
    Column("created_at_ms", BigInteger, nullable=False),
    Column("archived_at_ms", BigInteger),
    Column("version", BigInteger, nullable=False),
    Column("may_train", Boolean, nullable=False, server_default=false()),  # what is kept of it may teach a model
    Index("projects_name", "org_id", "name", unique=True),
)

members = Table(
    "members",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("removed_at_ms", BigInteger),
    Column("version", BigInteger, nullable=False),
)
_unique("members_email", members, "org_id", "email", where="removed_at_ms IS NULL")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("organisations.id")),
    Column("balance_nano", BigInteger, nullable=False),  # the sum of its postings
    CheckConstraint("balance_nano >= 0 OR id NOT LIKE 'wallet/%'", name="accounts_wallet_never_below_zero"),
    Index("accounts_org", "org_id"),
)

movements = Table(
    "movements",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),  # what makes it one of its kind: the same again is no second movement
    Column("org_id", Text, ForeignKey("organisations.id")),
    Column("memo", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Index("movements_reference", "kind", "reference", unique=True),
    Index("movements_org", "org_id", "id"),
)

postings = Table(
    "postings",
    metadata,
    Column("movement_id", BigInteger, ForeignKey("movements.id"), primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("amount_nano", BigInteger, nullable=False),  # a movement's sum to 0
    Index("postings_account", "account_id", "movement_id"),
    sqlite_with_rowid=False,
)

codes = Table(
    "codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the code
    Column("amount_nano", BigInteger, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("redeemed_at_ms", BigInteger),
    Column("org_id", Text, ForeignKey("organisations.id")),  # who redeemed it
    Column("made_by", Text, nullable=False),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("org_id", Text, ForeignKey("organisations.id")),
    Column("amount_nano", BigInteger),
    sqlite_with_rowid=False,
)

holders = Table(
    "holders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("home", Text, nullable=False),  # whose journal its charges come from
    Column("started_at_ms", BigInteger, nullable=False),
    Column("renewed_at_ms", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("holder", Text, ForeignKey("holders.id"), nullable=False),
    Column("key_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),  # free, held, or charged and not yet folded
    Column("lent_nano", BigInteger, nullable=False),  # all that was lent and not given back: its holder counts, too
    Column("taken_at_ms", BigInteger, nullable=False),
    Column("recalled", Boolean, nullable=False),
    CheckConstraint("amount_nano >= 0", name="leases_never_below_zero"),
    Index("leases_holder_key", "holder", "key_id", unique=True),
    Index("leases_key", "key_id"),
    Index("leases_org", "org_id"),
)

buckets = Table(
    "buckets",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("level_parts", BigInteger, nullable=False),  # 60,000ths of a unit
    Column("lent_parts", BigInteger, nullable=False),  # in the hands of processes, not yet spent
    Column("at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

bucket_leases = Table(
    "bucket_leases",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("holder", Text, ForeignKey("holders.id"), primary_key=True),
    Column("lent_parts", BigInteger, nullable=False),
    Column("recalled", Boolean, nullable=False),
    Index("bucket_leases_holder", "holder"),
    sqlite_with_rowid=False,
)
for _table in (leases, bucket_leases):
    Index(f"{_table.name}_recalled", _table.c.holder, sqlite_where=text("recalled = 1"), postgresql_where=text("recalled"))

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("org_id", Text),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),  # a JSON object
    Index("audit_org", "org_id", "id"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("org_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("seen_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),  # NULL: it still holds
)
_unique("alerts_open", alerts, "org_id", "kind", where="ended_at_ms IS NULL")
