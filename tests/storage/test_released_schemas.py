"""Upgrades from every schema that was released, with what users had in it: nothing is lost, and all of it finds its new place."""

import zlib

import msgspec
import pytest
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine
from stored_rows import query

from shoal.storage.database import open_engine, parse_address, writing
from shoal.storage.keys import hash_secret
from shoal.storage.store import open_store
from shoal.storage.upgrade import upgrade

SECRET = "sk-shoal-" + "x" * 43
USAGE = "requests, errors, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano"
BEFORE = {
    "0001": (
        "INSERT INTO api_keys VALUES ('key_a', 'app', {hash}, 'xxxx', 1700000000000, NULL, 1)",
        "INSERT INTO api_keys VALUES ('key_b', 'old', {other}, 'yyyy', 1700000000000, 1700000000001, 2)",
        "INSERT INTO requests VALUES ('req_1', 1700000000000, 'key_a', 'chat', 'gpt', 'openai/gpt', 'openai', 'openai/gpt', 200, {true},"
        " 10, 3, NULL, NULL, NULL, 7, 1, 5, NULL, 9, NULL, {receipt})",
        *(
            f"INSERT INTO usage_days (day, key_id, model, {USAGE}) VALUES (19675, '{key}', 'openai/gpt', 1, 0, 0, 10, 3, 0, 0, 0, 7)"
            for key in ("key_a", "key_b")
        ),
        "INSERT INTO journal_offsets VALUES ('segment.jsonl', 100)",
    ),
    "0002": (
        "INSERT INTO responses VALUES ('key_a', 'resp_1', NULL, 1, 9000000000000, {items}, {response})",
        "INSERT INTO response_items VALUES ('key_a', 'msg_1', 'resp_1')",
    ),
    "0003": ("INSERT INTO provider_keys VALUES ('pk_1', 'openai', {other}, 'zzzz', 1)",),
    "0004": (
        "INSERT INTO organisations (id, name, prepaid, markup_ppm, markups, free_monthly_nano, created_at_ms, version)"
        " VALUES ('org_x', 'x', {true}, 0, '{{}}', 0, 1, 1)",
        "INSERT INTO projects (id, org_id, name, keep_bodies, created_at_ms, version) VALUES ('proj_x', 'org_x', 'side', {true}, 1, 3)",
        "INSERT INTO bodies VALUES ('req_1', 'key_a', 'proj_x', 'ada', 1700000000000, {packed}, {packed})",
    ),
}
TABLES = {
    "0001": ("api_keys", "requests", "usage_days", "journal_offsets"),
    "0002": ("responses", "response_items"),
    "0003": ("provider_keys",),
    "0004": ("organisations", "projects", "accounts", "bodies"),
}


def literals(postgres: bool) -> dict[str, str]:
    def binary(value: bytes) -> str:
        return f"'\\x{value.hex()}'::bytea" if postgres else f"x'{value.hex()}'"

    return {
        "hash": binary(hash_secret(SECRET)),
        "other": binary(b"other"),
        "receipt": binary(b'{"id":"req_1"}'),
        "packed": binary(zlib.compress(b"{}")),
        "items": binary(b"[]"),
        "response": binary(b'{"id":"resp_1","output":[{"id":"msg_1"}]}'),
        "true": "true" if postgres else "1",
    }


async def fill(engine: AsyncEngine, release: str) -> None:
    """What each release up to this one left there."""
    for at in (one for one in BEFORE if one <= release):
        await upgrade(engine, at)
        async with writing(engine).begin() as connection:
            for statement in BEFORE[at]:
                await connection.exec_driver_sql(statement.format(**literals(engine.dialect.name == "postgresql")))


async def read(engine: AsyncEngine, release: str) -> dict[str, list[tuple[object, ...]]]:
    async with engine.connect() as connection:
        tables = [table for at, these in TABLES.items() if at <= release for table in these]
        return {table: sorted(map(tuple, await connection.exec_driver_sql(f"SELECT * FROM {table}")), key=repr) for table in tables}


@pytest.mark.parametrize("release", BEFORE)
async def test_what_users_had_is_kept_and_comes_back_when_they_go_back(address: str, release: str) -> None:
    engine = open_engine(parse_address(address))
    await fill(engine, release)
    before = await read(engine, release)
    store = await open_store(address)
    key = await store.keys.find(hash_secret(SECRET))
    assert key is not None
    assert (key.name, key.org_id, key.project_id, key.kind, key.active, key.prepaid) == (
        *("app", "org_operator", "proj_default", "inference"),
        *(True, False),
    )
    entry = await store.receipts.find("req_1")
    assert entry is not None
    assert (entry.org_id, entry.project_id, entry.charged_nano, entry.stream, entry.receipt) == (
        *("org_operator", "proj_default", None, True),
        msgspec.Raw(b'{"id":"req_1"}'),
    )
    assert await query(store, "SELECT key_id, day, requests, cost_nano, charged_nano FROM usage_days ORDER BY key_id") == [
        ("key_a", 19675, 1, 7, 0),
        ("key_b", 19675, 1, 7, 0),
    ]
    assert await query(store, "SELECT project_id, day, requests, cost_nano FROM project_usage_days") == [("proj_default", 19675, 2, 14)]
    if release >= "0002":
        assert await store.responses.chain("resp_1", "key_a") == [msgspec.Raw(b'{"id":"msg_1"}')]
    if release >= "0004":
        body = await store.bodies.find("req_1", "proj_x")
        assert body is not None and (body.request, body.response) == (b"{}", b"{}")
        project = await store.projects.find("org_x", "proj_x")
        assert (project.keep_bodies, project.may_train) == (True, False)
    await store.close()
    await upgrade(engine, release)
    assert await read(engine, release) == before
    await engine.dispose()


async def test_keys_that_only_a_newer_schema_can_limit_are_revoked_on_the_way_back(address: str) -> None:
    store = await open_store(address)
    await store.keys.create("app")
    async with writing(store.engine).begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO organisations (id, name, prepaid, markup_ppm, markups, free_monthly_nano, created_at_ms, version) "
            f"VALUES ('org_x', 'x', {literals(store.engine.dialect.name == 'postgresql')['true']}, 0, '{{}}', 0, 1, 1)"
        )
        await connection.exec_driver_sql(
            "INSERT INTO projects (id, org_id, name, keep_bodies, created_at_ms, version) "
            "SELECT 'proj_x', 'org_x', 'x', keep_bodies, 1, 1 FROM projects"
        )
    _, secret = await store.keys.make("org_x", "proj_x", "app")
    await store.close()
    engine = open_engine(parse_address(address))
    await upgrade(engine, "0003")
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT hash, revoked_at_ms IS NULL FROM api_keys")
        assert {bytes(digest) == hash_secret(secret): bool(active) for digest, active in rows} == {True: False, False: True}
    await engine.dispose()


@pytest.mark.parametrize("table", ["movements", "postings", "audit"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at_ms = 1", "DELETE FROM {}"])
async def test_what_was_written_of_money_and_acts_stays(address: str, table: str, change: str) -> None:
    store = await open_store(address)
    await store.ledger.top_up("org_operator", 5, "admin", "one")
    async with writing(store.engine).begin() as connection:
        await connection.exec_driver_sql("INSERT INTO audit (at_ms, actor, action, target, detail) VALUES (1, 'me', 'test', 'x', '{}')")
    statement = change.format(table).replace("at_ms", "amount_nano") if table == "postings" else change.format(table)
    with pytest.raises(exc.DBAPIError, match="append-only"):
        async with writing(store.engine).begin() as connection:
            await connection.exec_driver_sql(statement)
    await store.close()
