"""Organisations, projects and members; money; what processes hold of it; bodies, alerts and the audit log.

Keys and requests that were there belong to the operator's own organisation and its one project.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OPERATOR, PROJECT = "org_operator", "proj_default"
_USAGE = (
    *("requests", "errors", "unpriced", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    "cost_nano",
)
_APPEND_ONLY = ("movements", "postings", "audit")
_KEY_COLUMNS: dict[str, tuple[Any, str | None]] = {
    "org_id": (sa.Text, OPERATOR),
    "project_id": (sa.Text, PROJECT),
    "member_id": (sa.Text, None),
    "kind": (sa.Text, "inference"),
    "terms": (sa.Text, "{}"),
    "expires_at_ms": (sa.BigInteger, None),
    "replaced_by": (sa.Text, None),
    "version": (sa.BigInteger, "1"),
}


def upgrade() -> None:
    """Create the tables, give the operator an organisation, and move what is there into it."""
    _create_accounts()
    _create_money()
    _create_holdings()
    _create_records()
    _place_keys()
    _place_requests()
    _place_usage()
    op.add_column("responses", sa.Column("user_id", sa.Text))
    op.create_index("responses_user", "responses", ["user_id"], **_only("user_id IS NOT NULL"))
    for table in _APPEND_ONLY:
        _forbid_changes(table)


def downgrade() -> None:
    """Drop them: organisations, money, terms of keys. Keys of other organisations are revoked, since nothing limits them any more."""
    _allow_changes()
    _unplace_usage()
    for index, table in (("responses_user", "responses"), ("requests_project_at", "requests"), ("requests_user", "requests")):
        op.drop_index(index, table)
    op.drop_column("responses", "user_id")
    for name in ("charged_nano", "org_id", "project_id", "user_id"):
        op.drop_column("requests", name)
    _unplace_keys()
    for name in (
        *("bodies", "alerts", "audit", "bucket_leases", "buckets", "leases", "holders", "webhook_events", "codes", "postings"),
        *("movements", "accounts", "members", "projects", "organisations"),
    ):
        op.drop_table(name)


def _create_accounts() -> None:
    organisations = op.create_table(
        "organisations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("prepaid", sa.Boolean, nullable=False),
        sa.Column("markup_ppm", sa.BigInteger, nullable=False),
        sa.Column("markups", sa.Text, nullable=False),
        sa.Column("free_monthly_nano", sa.BigInteger, nullable=False),
        sa.Column("low_balance_nano", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("keep_bodies", sa.Boolean, nullable=False),
        sa.Column("retention_days", sa.Integer),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("archived_at_ms", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_index("projects_name", "projects", ["org_id", "name"], unique=True)
    op.create_table(
        "members",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("removed_at_ms", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    _create_unique("members_email", "members", ["org_id", "email"], "removed_at_ms IS NULL")
    first = {"created_at_ms": 0, "version": 1}
    op.bulk_insert(
        organisations,
        [{"id": OPERATOR, "name": "operator", "prepaid": False, "markup_ppm": 0, "markups": "{}", "free_monthly_nano": 0, **first}],
    )
    op.bulk_insert(projects, [{"id": PROJECT, "org_id": OPERATOR, "name": "default", "keep_bodies": False, **first}])


def _create_money() -> None:
    accounts = op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id")),
        sa.Column("balance_nano", sa.BigInteger, nullable=False),
        sa.CheckConstraint("balance_nano >= 0 OR id NOT LIKE 'wallet/%'", name="accounts_wallet_never_below_zero"),
    )
    op.create_index("accounts_org", "accounts", ["org_id"])
    op.bulk_insert(accounts, [{"id": f"wallet/{OPERATOR}", "org_id": OPERATOR, "balance_nano": 0}])
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "movements",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id")),
        sa.Column("memo", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_index("movements_reference", "movements", ["kind", "reference"], unique=True)
    op.create_index("movements_org", "movements", ["org_id", "id"])
    op.create_table(
        "postings",
        sa.Column("movement_id", sa.BigInteger, sa.ForeignKey("movements.id"), primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("amount_nano", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("postings_account", "postings", ["account_id", "movement_id"])
    op.create_table(
        "codes",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("amount_nano", sa.BigInteger, nullable=False),
        sa.Column("made_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("redeemed_at_ms", sa.BigInteger),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id")),
        sa.Column("made_by", sa.Text, nullable=False),
    )
    op.create_table(
        "webhook_events",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id")),
        sa.Column("amount_nano", sa.BigInteger),
        sqlite_with_rowid=False,
    )


def _create_holdings() -> None:
    op.create_table(
        "holders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("home", sa.Text, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("renewed_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, sa.ForeignKey("holders.id"), nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("org_id", sa.Text, nullable=False),
        sa.Column("amount_nano", sa.BigInteger, nullable=False),
        sa.Column("lent_nano", sa.BigInteger, nullable=False),
        sa.Column("taken_at_ms", sa.BigInteger, nullable=False),
        sa.Column("recalled", sa.Boolean, nullable=False),
        sa.CheckConstraint("amount_nano >= 0", name="leases_never_below_zero"),
    )
    op.create_index("leases_holder_key", "leases", ["holder", "key_id"], unique=True)
    op.create_index("leases_key", "leases", ["key_id"])
    op.create_index("leases_org", "leases", ["org_id"])
    op.create_table(
        "buckets",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("unit", sa.Text, primary_key=True),
        sa.Column("level_parts", sa.BigInteger, nullable=False),
        sa.Column("lent_parts", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bucket_leases",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("unit", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, sa.ForeignKey("holders.id"), primary_key=True),
        sa.Column("lent_parts", sa.BigInteger, nullable=False),
        sa.Column("recalled", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("bucket_leases_holder", "bucket_leases", ["holder"])
    for table in ("leases", "bucket_leases"):
        op.create_index(f"{table}_recalled", table, ["holder"], sqlite_where=sa.text("recalled = 1"), postgresql_where=sa.text("recalled"))


def _create_records() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("org_id", sa.Text),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("audit_org", "audit", ["org_id", "id"])
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("org_id", sa.Text, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger),
        sa.Column("ended_at_ms", sa.BigInteger),
    )
    _create_unique("alerts_open", "alerts", ["org_id", "kind"], "ended_at_ms IS NULL")
    op.create_table(
        "bodies",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
    )
    op.create_index("bodies_project_at", "bodies", ["project_id", "at_ms"])
    op.create_index("bodies_user", "bodies", ["user_id"], **_only("user_id IS NOT NULL"))


def _place_keys() -> None:
    op.drop_index("api_keys_active_name", "api_keys")
    for name, (kind, default) in _KEY_COLUMNS.items():
        op.add_column("api_keys", sa.Column(name, kind, nullable=default is None, server_default=default))
    _create_unique("api_keys_active_name", "api_keys", ["org_id", "name"], "revoked_at_ms IS NULL AND replaced_by IS NULL")
    op.create_index("api_keys_org", "api_keys", ["org_id", "created_at_ms"])


def _unplace_keys() -> None:
    op.execute(f"UPDATE api_keys SET revoked_at_ms = created_at_ms WHERE revoked_at_ms IS NULL AND org_id <> '{OPERATOR}'")  # noqa: S608
    op.execute("UPDATE api_keys SET revoked_at_ms = created_at_ms WHERE revoked_at_ms IS NULL AND replaced_by IS NOT NULL")
    for index in ("api_keys_active_name", "api_keys_org"):
        op.drop_index(index, "api_keys")
    for name in _KEY_COLUMNS:
        op.drop_column("api_keys", name)
    _create_unique("api_keys_active_name", "api_keys", ["name"], "revoked_at_ms IS NULL")


def _place_requests() -> None:
    """Columns with constant defaults: neither database rewrites the table for them, however many requests it holds."""
    op.add_column("requests", sa.Column("charged_nano", sa.BigInteger))
    op.add_column("requests", sa.Column("org_id", sa.Text, nullable=False, server_default=OPERATOR))
    op.add_column("requests", sa.Column("project_id", sa.Text, nullable=False, server_default=PROJECT))
    op.add_column("requests", sa.Column("user_id", sa.Text))
    op.create_index("requests_project_at", "requests", ["project_id", "at_ms"])
    op.create_index("requests_user", "requests", ["user_id"], **_only("user_id IS NOT NULL"))


def _place_usage() -> None:
    """What a key has used is asked for by key and window, what a project has used by project and days: a table for each."""
    sums = ", ".join(_USAGE)
    _set_usage_aside()
    _create_usage("usage_days", ("key_id", "day", "model"), "charged_nano")
    _create_usage("project_usage_days", ("project_id", "day", "model"), "charged_nano")
    op.execute(
        f"INSERT INTO usage_days (key_id, day, model, {sums}, charged_nano) "  # noqa: S608 - our own columns
        f"SELECT key_id, day, model, {sums}, 0 FROM usage_days_before"
    )
    op.execute(
        f"INSERT INTO project_usage_days (project_id, day, model, {sums}, charged_nano) "  # noqa: S608 - our own columns
        f"SELECT '{PROJECT}', day, model, {', '.join(f'sum({name})' for name in _USAGE)}, 0 FROM usage_days_before GROUP BY day, model"
    )
    op.drop_table("usage_days_before")


def _unplace_usage() -> None:
    op.drop_table("project_usage_days")
    _set_usage_aside()
    _create_usage("usage_days", ("day", "key_id", "model"))
    columns = ", ".join(("day", "key_id", "model", *_USAGE))
    op.execute(f"INSERT INTO usage_days ({columns}) SELECT {columns} FROM usage_days_before")  # noqa: S608 - our own columns
    op.drop_table("usage_days_before")


def _set_usage_aside() -> None:
    """A copy, since a table that was renamed would keep the name of its primary key on PostgreSQL."""
    op.execute("CREATE TABLE usage_days_before AS SELECT * FROM usage_days")
    op.drop_table("usage_days")


def _create_usage(table: str, keys: tuple[str, ...], *more: str) -> None:
    types = {"day": sa.Integer}
    op.create_table(
        table,
        *(sa.Column(name, types.get(name, sa.Text), nullable=False) for name in keys),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*_USAGE, *more)),
        sa.PrimaryKeyConstraint(*keys),
        sqlite_with_rowid=False,
    )


def _create_unique(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, unique=True, **_only(where))


def _only(where: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}


def _forbid_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for what in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{what.lower()} BEFORE {what} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE OR REPLACE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )


def _allow_changes() -> None:
    """On SQLite triggers go with their tables; on PostgreSQL functions do not."""
    if op.get_bind().dialect.name != "sqlite":
        for table in _APPEND_ONLY:
            op.execute(f"DROP FUNCTION {table}_append_only() CASCADE")
