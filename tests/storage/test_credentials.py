"""Keys for providers at rest: sealed, bound to their place, and told to nobody."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from shoal.core.errors import Fault
from shoal.storage.credentials import SECRET_FILE, read_secret
from shoal.storage.store import open_store

KEY = "sk-a-very-secret-key-0123"


def leaking(directory: Path) -> list[Path]:
    """The files that hold a key in the clear."""
    return [path for path in directory.iterdir() if KEY.encode() in path.read_bytes() or b"third-key" in path.read_bytes()]


async def test_a_key_comes_back_and_lies_in_no_file(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "shoal.db")
    secret = read_secret(tmp_path, {})
    await store.credentials.put("openai", KEY, secret)
    await store.credentials.put("openai", "second-key", secret, keep=True)
    await store.credentials.put("groq", "third-key", secret)
    assert await store.credentials.open_all(tmp_path, {}) == {"openai": (KEY, "second-key"), "groq": ("third-key",)}
    listed = await store.credentials.list_all()
    assert [(one.provider, one.hint) for one in listed] == [("openai", "0123"), ("openai", "-key"), ("groq", "-key")]
    await store.credentials.put("openai", "fourth-key", secret)
    assert (await store.credentials.open_all(tmp_path, {}))["openai"] == ("fourth-key",)
    assert await store.credentials.remove("openai") == 1
    assert await store.credentials.remove("openai") == 0
    await store.close()
    assert leaking(tmp_path) == []


async def test_nothing_is_made_where_nothing_is_stored(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "shoal.db")
    assert await store.credentials.open_all(tmp_path, {}) == {}
    assert not (tmp_path / SECRET_FILE).exists()
    await store.close()


async def test_another_secret_or_place_opens_nothing(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "shoal.db")
    await store.credentials.put("openai", KEY, read_secret(tmp_path, {"SHOAL_SECRET": "correct horse battery"}))
    assert (await store.credentials.open_all(tmp_path, {"SHOAL_SECRET": "correct horse battery"})) == {"openai": (KEY,)}
    with pytest.raises(Fault, match="set-key openai") as raised:
        await store.credentials.open_all(tmp_path, {"SHOAL_SECRET": "another horse battery"})
    assert KEY not in raised.value.message
    await store.close()
    with closing(sqlite3.connect(tmp_path / "shoal.db")) as connection:
        connection.execute("UPDATE provider_keys SET provider = 'evil'")
        connection.commit()
    store = await open_store(tmp_path / "shoal.db")
    with pytest.raises(Fault, match="does not open"):
        await store.credentials.open_all(tmp_path, {"SHOAL_SECRET": "correct horse battery"})
    await store.close()


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = read_secret(tmp_path / "new", {})
    assert len(first) == 32
    assert read_secret(tmp_path / "new", {}) == first
    assert [path.name for path in (tmp_path / "new").iterdir()] == [SECRET_FILE]
    assert stat.S_IMODE((tmp_path / "new" / SECRET_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(("content", "mode", "what"), [(b"x" * 32, 0o644, "chmod 600"), (b"short", 0o600, "32 bytes")])
def test_a_bad_secret_is_refused(tmp_path: Path, content: bytes, mode: int, what: str) -> None:
    (tmp_path / SECRET_FILE).write_bytes(content)
    (tmp_path / SECRET_FILE).chmod(mode)
    with pytest.raises(Fault, match=what):
        read_secret(tmp_path, {})


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="16 characters"):
        read_secret(tmp_path, {"SHOAL_SECRET": "short"})


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
async def test_what_cannot_be_a_key_is_refused(tmp_path: Path, key: str) -> None:
    store = await open_store(tmp_path / "shoal.db")
    with pytest.raises(Fault):
        await store.credentials.put("openai", key, b"x" * 32)
    await store.close()
