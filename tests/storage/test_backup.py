"""A backup is one state of the whole database, and restored it is that state again."""

import asyncio
import stat
from pathlib import Path

import pytest
from firm import fold, found
from postgres import Cluster
from sqlalchemy import inspect

from shoal.core.errors import Fault
from shoal.storage import backup
from shoal.storage.bodies import Body, Chat
from shoal.storage.feedback import Opinion, Subject
from shoal.storage.store import Store, open_store


async def read_all(store: Store) -> dict[str, list[str]]:
    async with store.engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        return {name: sorted(map(repr, (await connection.exec_driver_sql(f"SELECT * FROM {name}")).all())) for name in tables}


async def fill(store: Store, home: Path) -> str:
    firm = await found(store, 1000)
    key = await firm.key("caf\u00e9", rpm=5)
    lender = store.lend(home)
    await lender.beat()
    grant = await lender.borrow(key, 100, 100)
    await fold(store, home, [firm.entry(key, 50, grant.lease, user_id="ada")])
    await store.responses.save(key, b'{"id":"resp_1","output":[{"id":"msg_1"}]}', [])
    chat = Chat("chatcmpl-1", True, "gpt", "openai/gpt", "openai", {"task": "tag"})
    await store.bodies.save([Body("req_x", key, firm.project_id, "ada", 1, b"{}", b"{}", chat)])
    await store.feedback.give(firm.project_id, key, Subject("req_x", "ada"), Opinion(score=0.1, correction=b"{}"))
    await store.files.keep(firm.project_id, key, "batch", "x", bytes(range(256)) * 10_000)
    await store.credentials.put("openai", "sk-x", bytes(32))
    lender.close()
    return firm.id


@pytest.fixture(params=["with pg_dump", "without"])
def empty(request: pytest.FixtureRequest, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A second database of the same kind, to restore into."""
    if address.startswith("sqlite"):
        if request.param == "without":
            pytest.skip("SQLite needs no program")
        return f"sqlite:///{tmp_path}/restored.db"
    cluster: Cluster = request.getfixturevalue("postgres")
    programs = cluster.programs if request.param == "with pg_dump" else Path("/nowhere")
    monkeypatch.setattr(backup.shutil, "which", lambda name: str(programs / name) if (programs / name).exists() else None)
    return cluster.new_database()


async def test_what_is_restored_is_what_was_backed_up(store: Store, address: str, empty: str, tmp_path: Path) -> None:
    org_id = await fill(store, tmp_path)
    before = await read_all(store)
    await backup.back_up(address, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    await backup.restore(empty, tmp_path / "backup")
    restored = await open_store(empty)
    assert await read_all(restored) == before
    assert await restored.ledger.top_up(org_id, 5, "admin", "after")
    assert await restored.ledger.check() == []
    await restored.audit.record("x", "y", None, "z")
    await restored.close()


async def test_a_backup_is_taken_while_others_write(store: Store, address: str, empty: str, tmp_path: Path) -> None:
    firm = await found(store)

    async def write() -> None:
        for number in range(200):
            await store.ledger.top_up(firm.id, 3, "admin", str(number))

    writing = asyncio.create_task(write())
    while (await firm.balance()) == 0:
        assert not writing.done()
    await backup.back_up(address, tmp_path / "backup")
    assert not writing.done()
    await writing
    await backup.restore(empty, tmp_path / "backup")
    restored = await open_store(empty)
    assert 0 < (await restored.ledger.balance(firm.id)).balance_nano < 600
    assert await restored.ledger.check() == []
    await restored.close()


async def test_nothing_is_overwritten(store: Store, address: str, tmp_path: Path) -> None:
    await backup.back_up(address, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    with pytest.raises(Fault, match="is there already"):
        await backup.back_up(address, tmp_path / "backup")
    with pytest.raises(Fault, match="is there already|holds tables already"):  # noqa: RUF043
        await backup.restore(address, tmp_path / "backup")
    assert (tmp_path / "backup").read_bytes() == content
    assert not (tmp_path / "backup.part").exists()


@pytest.mark.parametrize("content", [None, b"", b"hello", b"SQLite format 3\0" + b"x" * 5000, b"PGDMP", b"PK\x03\x04xx"])
async def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "backup").write_bytes(content)
    with pytest.raises(Fault, match="no backup|is damaged|cannot be read"):  # noqa: RUF043
        await backup.restore(tmp_path / "new.db", tmp_path / "backup")
    assert not (tmp_path / "new.db").exists()


async def test_a_place_that_cannot_be_written_is_told(store: Store, address: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="cannot be written"):
        await backup.back_up(address, tmp_path / "nowhere" / "backup")
