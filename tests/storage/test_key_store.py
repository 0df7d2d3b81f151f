"""Keys: made once, found by hash, revoked for good, and every change visible to who asks for what is new."""

import asyncio
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.storage.keys import check_name, hash_secret
from shoal.storage.store import Store, open_store


async def test_a_key_is_found_by_the_hash_of_its_secret(store: Store) -> None:
    secret = await store.keys.create("first")
    assert re.fullmatch(r"sk-shoal-[A-Za-z0-9_-]{43}", secret)
    key = await store.keys.find(hash_secret(secret))
    assert key is not None
    assert (key.name, key.hint, key.active, key.revision) == ("first", secret[-4:], True, 1)
    assert key == (await store.keys.list_all())[0]
    assert await store.keys.find(hash_secret(secret.encode() + b"x")) is None


def test_the_secret_is_not_in_the_database(tmp_path: Path) -> None:
    async def create() -> str:
        store = await open_store(tmp_path / "shoal.db")
        try:
            return await store.keys.create("first")
        finally:
            await store.close()

    secret = asyncio.run(create()).removeprefix("sk-shoal-").encode()
    contents = [file.read_bytes() for file in tmp_path.iterdir()]
    assert any(b"first" in content for content in contents)
    assert not any(secret in content for content in contents)


async def test_an_active_name_is_taken_and_free_again_once_revoked(store: Store) -> None:
    first = await store.keys.create("app")
    with pytest.raises(Fault, match='"app" is taken') as caught:
        await store.keys.create("app")
    assert (caught.value.kind, caught.value.param) == ("invalid_value", "name")
    await store.keys.revoke("app")
    second = await store.keys.create("app")
    assert [key.active for key in await store.keys.list_all()] == [False, True]
    assert first != second


async def test_equal_names_in_different_normal_forms_are_equal(store: Store) -> None:
    await store.keys.create("caf\u00e9")
    with pytest.raises(Fault, match="taken"):
        await store.keys.create("cafe\u0301")
    assert (await store.keys.revoke("cafe\u0301")).name == "caf\u00e9"


@pytest.mark.parametrize("how", ["name", "id", "secret"])
async def test_a_key_is_revoked_by_name_id_or_secret(store: Store, how: str) -> None:
    secret = await store.keys.create("app")
    (key,) = await store.keys.list_all()
    revoked = await store.keys.revoke({"name": "app", "id": key.id, "secret": secret}[how])
    assert not revoked.active
    assert revoked == await store.keys.find(key.hash)


async def test_revoking_twice_by_id_changes_nothing(store: Store) -> None:
    await store.keys.create("app")
    first = await store.keys.revoke("app")
    assert await store.keys.revoke(first.id) == first
    with pytest.raises(Fault, match='named "app"') as caught:
        await store.keys.revoke("app")
    assert caught.value.kind == "not_found"


async def test_an_unknown_secret_is_not_repeated_in_the_error(store: Store) -> None:
    with pytest.raises(Fault) as caught:
        await store.keys.revoke("sk-shoal-" + "x" * 43)
    assert "xxx" not in caught.value.message


async def test_what_changed_is_told_once_and_in_order(store: Store) -> None:
    assert await store.keys.changed_since(0) == []
    for name in ("a", "b", "c"):
        await store.keys.create(name)
    assert [key.name for key in await store.keys.changed_since(0)] == ["a", "b", "c"]
    seen = (await store.keys.changed_since(0))[-1].revision
    assert await store.keys.changed_since(seen) == []
    await store.keys.revoke("a")
    (change,) = await store.keys.changed_since(seen)
    assert (change.name, change.active, change.revision) == ("a", False, seen + 1)


async def test_another_process_sees_changes_at_once(store: Store, address: str) -> None:
    other = await open_store(address)
    secret = await other.keys.create("app")
    assert await store.keys.find(hash_secret(secret)) is not None
    await other.close()


async def test_changes_made_at_the_same_time_each_get_a_revision(store: Store, address: str) -> None:
    other = await open_store(address)
    await asyncio.gather(*(which.keys.create(f"{n}") for n, which in enumerate([store, other] * 10)))
    assert [key.revision for key in await store.keys.changed_since(0)] == list(range(1, 21))
    outcomes = await asyncio.gather(*(which.keys.create("same") for which in [store, other] * 3), return_exceptions=True)
    assert sorted(isinstance(outcome, Fault) for outcome in outcomes) == [False] + [True] * 5
    await other.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "has 0 characters"),
        ("x" * 65, "has 65 characters"),
        ("a\nb", "printable"),
        ("a\x00", "printable"),
        ("a\u202eb", "printable"),
        ("\ud800", "printable"),
        (" a", "outer spaces"),
        ("sk-shoal-abc", "must not begin with"),
        ("key_abc", "must not begin with"),
    ],
)
async def test_a_bad_name_is_refused(store: Store, name: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as caught:
        await store.keys.create(name)
    assert (caught.value.kind, caught.value.param) == ("invalid_value", "name")
    assert await store.keys.list_all() == []


@given(st.text(alphabet=string.ascii_letters + " é漢字🐟'\"\\;%_", min_size=1, max_size=64).filter(lambda name: name == name.strip()))
def test_any_printable_name_is_taken_as_it_is(name: str) -> None:
    if not name.startswith(("key_", "sk-shoal-")):
        assert check_name(name) == name


@given(st.text())
def test_a_name_that_passes_passes_again(name: str) -> None:
    try:
        checked = check_name(name)
    except Fault:
        return
    assert check_name(checked) == checked
    assert checked.isprintable()


@given(st.text() | st.binary())
def test_anything_a_caller_sends_can_be_hashed(secret: str | bytes) -> None:
    assert len(hash_secret(secret)) == 32


async def test_names_survive_the_database(store: Store) -> None:
    names = ["漢字 🐟", "'; DROP TABLE api_keys; --", "%s {} :x ?", '"']
    for name in names:
        await store.keys.create(name)
    assert [key.name for key in await store.keys.changed_since(0)] == names
    assert [(await store.keys.revoke(name)).name for name in names] == names
