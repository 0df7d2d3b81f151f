"""residents.py: who is loaded, who waits, who goes, and who stays whatever happens."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import ScriptedEngine, until

from shoal.core.errors import Fault
from shoal.mini import residents as module
from shoal.mini.card import FILE, Card, write_card
from shoal.mini.residents import Footprint, Residents
from shoal.mini.served import ServedChat
from shoal.mini.shelf import Published, Shelf, delete, make_current, publish

ORG = "org_aaaaaaaaaaaaaaaa"
MB = 1 << 20


class Loading:
    """Loads scripted engines; each takes 100 MB, and may be held back or fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.closing = threading.Event()
        self.closing.set()
        self.fails: Exception | None = None
        self.loads: list[str] = []
        self.closed: list[str] = []
        self.size = 100 * MB
        self.held = 0

    def measure(self, student: Published) -> Footprint:
        return Footprint(self.size - 40 * MB, 40 * MB)

    def load(self, student: Published, cache_bytes: int) -> ServedChat:
        assert cache_bytes == 40 * MB
        self.loads.append(student.id)
        assert self.gate.wait(20)
        if self.fails is not None:
            raise self.fails
        self.held += self.size - 40 * MB
        engine = ScriptedEngine()
        engine.close = lambda: self.close(student.id)  # type: ignore[method-assign]
        return ServedChat(student.id, engine)

    def close(self, name: str) -> None:
        self.closed.append(name)
        assert self.closing.wait(20)
        self.held -= self.size - 40 * MB


@pytest.fixture
def publish_one(tmp_path: Path) -> Callable[[str], str]:
    made = tmp_path / "made"
    made.mkdir()
    write_card(made, Card("x", "chat", "openvino", 4096, base="minnow"))
    return lambda name: publish(tmp_path, made, ORG, "Acme", name)


def make(tmp_path: Path, budget_mb: int = 250, wait_s: float = 20.0) -> tuple[Residents, Loading]:
    loading = Loading()
    return Residents(Shelf(tmp_path), loading, budget_mb * MB, wait_s=wait_s, held=lambda: loading.held), loading


async def touch(residents: Residents, name: str) -> str:
    async with residents.use(name) as model:
        return model.name


async def test_it_is_loaded_once_for_all_who_ask_at_first(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    name = publish_one("a")  # noticed without a restart
    loading.gate.clear()
    asked = [asyncio.create_task(touch(residents, one)) for one in (name, name.removesuffix(":1"), name)]
    await until(lambda: loading.loads)
    loading.gate.set()
    assert await asyncio.gather(*asked) == [name] * 3
    assert loading.loads == [name] and residents.bytes == 100 * MB


async def test_the_least_used_goes_first(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    a, b, c = (publish_one(name) for name in "abc")
    for name in (a, b, a, c):
        await touch(residents, name)
    assert loading.closed == [b] and {one.student.id for one in residents.loaded} == {a, c}
    await touch(residents, b)
    assert loading.closed == [b, a] and residents.bytes == 200 * MB


async def test_one_in_use_stays_and_others_wait_for_room(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path, budget_mb=150)
    a, b = publish_one("a"), publish_one("b")
    async with residents.use(a):
        waiting = asyncio.create_task(touch(residents, b))
        await until(lambda: residents._turn.locked())
        await asyncio.sleep(0)
        assert loading.closed == [] and not waiting.done()
    assert await waiting == b
    assert loading.closed == [a]


async def test_who_waits_for_room_or_a_load_waits_no_longer_than_it_may(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path, budget_mb=150, wait_s=0.05)
    a, b = publish_one("a"), publish_one("b")
    async with residents.use(a):
        with pytest.raises(Fault) as busy:
            await touch(residents, b)
    assert busy.value.kind == "not_ready" and busy.value.retry_after_s
    await until(lambda: not residents._turn.locked())
    assert await touch(residents, b) == b  # it is not held against it
    loading.gate.clear()
    with pytest.raises(Fault) as slow:
        await touch(residents, a)
    assert slow.value.kind == "not_ready"
    loading.gate.set()
    await until(lambda: any(one.student.id == a for one in residents.loaded))
    assert await touch(residents, a) == a


async def test_no_more_wait_than_may(tmp_path: Path, publish_one: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    residents, loading = make(tmp_path)
    name = publish_one("a")
    loading.gate.clear()
    waiting = [asyncio.create_task(touch(residents, name)) for _ in range(3)]
    await until(lambda: loading.loads)
    with pytest.raises(Fault) as full:
        await touch(residents, name)
    assert full.value.kind == "rate_limited"
    loading.gate.set()
    assert await asyncio.gather(*waiting) == [name] * 3


async def test_what_cannot_be_loaded_is_an_error_for_its_callers_alone(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    a, b = publish_one("a"), publish_one("b")
    loading.fails = RuntimeError("the graph is damaged\nmore words")
    failed = await asyncio.gather(*(touch(residents, a) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, Fault) and "cannot be loaded: the graph is damaged" in str(one) for one in failed)
    assert loading.loads == [a]
    with pytest.raises(Fault):
        await touch(residents, a)
    assert loading.loads == [a]  # not tried again at once
    loading.fails = None
    assert await touch(residents, b) == b
    assert residents.bytes == 100 * MB


async def test_one_that_is_too_large_is_refused_with_the_reason(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, _ = make(tmp_path, budget_mb=90)
    with pytest.raises(Fault, match="takes 100 MB, and all students together may take 90 MB"):
        await touch(residents, publish_one("a"))
    assert residents.bytes == 0


async def test_what_is_deleted_finishes_its_runs_and_goes(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    name = publish_one("a")
    async with residents.use(name) as model:
        delete(tmp_path, name)
        with pytest.raises(Fault) as gone:
            await touch(residents, name)
        assert gone.value.kind == "model_not_found"
        assert loading.closed == [] and model.name == name
    await until(lambda: loading.closed == [name])
    assert residents.loaded == []


async def test_deleted_while_it_is_loaded(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    name = publish_one("a")
    loading.gate.clear()
    waiting = asyncio.create_task(touch(residents, name))
    await until(lambda: loading.loads)
    delete(tmp_path, name)
    residents.refresh()
    loading.gate.set()
    assert await waiting == name
    await until(lambda: loading.closed == [name])


async def test_asked_for_while_it_is_being_unloaded_it_is_loaded_again(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path, budget_mb=150)
    a, b = publish_one("a"), publish_one("b")
    await touch(residents, a)
    loading.closing.clear()
    other = asyncio.create_task(touch(residents, b))
    await until(lambda: loading.closed)
    again = asyncio.create_task(touch(residents, a))
    await asyncio.sleep(0)
    assert not other.done() and not again.done()
    loading.closing.set()
    assert await asyncio.gather(other, again) == [b, a]
    assert loading.loads == [a, b, a] and loading.closed == [a, b] and residents.bytes == 100 * MB


async def test_whatever_is_asked_the_budget_is_kept(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path, budget_mb=250)
    names = [publish_one(f"s{i}") for i in range(5)]
    most = 0

    async def ask(i: int) -> None:
        nonlocal most
        for turn in range(4):
            name = names[(i * 3 + turn * turn) % len(names)]
            async with residents.use(name) as model:
                most = max(most, len(loading.loads) - len(loading.closed))
                assert model.name == name
                await asyncio.sleep(0)

    await asyncio.gather(*(ask(i) for i in range(20)))
    assert most == 2 and len(loading.loads) - len(loading.closed) == len(residents.loaded)


async def test_an_alias_follows_a_rollback(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, _ = make(tmp_path)
    first, second = publish_one("a"), publish_one("a")
    alias = first.removesuffix(":1")
    assert await touch(residents, alias) == second
    make_current(tmp_path, alias)
    assert await touch(residents, alias) == first


async def test_one_that_was_replaced_on_the_disk_is_loaded_anew(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    name = publish_one("a")
    async with residents.use(name):
        found = residents.find(name)
        delete(tmp_path, name)
        found.directory.mkdir()
        (found.directory / FILE).write_bytes(b"{}")
        with pytest.raises(Fault, match="not on this machine"):
            residents.find(name)
        write_card(found.directory, Card("x", "chat", "openvino", 2048, org_id=ORG))
        assert await touch(residents, name) == name
        assert loading.loads == [name, name] and loading.closed == []
        assert residents.bytes == 200 * MB
    await until(lambda: loading.closed == [name])
    assert residents.bytes == 100 * MB


async def test_closing_frees_all(tmp_path: Path, publish_one: Callable[[str], str]) -> None:
    residents, loading = make(tmp_path)
    a, b = publish_one("a"), publish_one("b")
    await touch(residents, a)
    await touch(residents, b)
    await residents.close()
    assert sorted(loading.closed) == [a, b]
