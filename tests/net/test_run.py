"""A coroutine that is served in the turn that brought it, and what becomes of one that has to wait."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from shoal.net.run import Event, Run, in_task


def run(coroutine: Coroutine[Any, Any, None], among: set[Any]) -> Run:
    one = Run(coroutine, among, asyncio.get_running_loop())
    one.step()
    return one


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_for_nothing_is_done_at_once() -> None:
    said: list[str] = []
    among: set[Any] = set()

    async def serve() -> None:
        said.append("served")

    run(serve(), among)
    assert said == ["served"]
    assert among == set()


async def test_an_event_goes_on_in_the_turn_that_tells_it() -> None:
    said: list[str] = []
    among: set[Any] = set()
    event = Event(asyncio.get_running_loop())

    async def serve() -> None:
        await event
        said.append("told")

    run(serve(), among)
    event.tell()  # it has not happened
    assert said == []
    event.happen()
    assert said == []
    event.tell()
    assert said == ["told"]
    assert among == set()


async def test_an_event_that_went_wrong_raises_where_it_is_awaited() -> None:
    said: list[str] = []
    event = Event(asyncio.get_running_loop())

    async def serve() -> None:
        try:
            await event
        except ValueError as error:
            said.append(str(error))

    run(serve(), set())
    event.happen(ValueError("broken"))
    event.tell()
    assert said == ["broken"]
    with pytest.raises(ValueError, match="broken"):
        await event  # whoever comes later learns the same


async def test_whatever_else_is_awaited_makes_a_task() -> None:
    among: set[Any] = set()
    said: list[str] = []
    future = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        said.append(await future)
        async with asyncio.timeout(10):  # which only works in a task
            await asyncio.sleep(0)
        said.append("still there")

    run(serve(), among)
    future.set_result("first")
    await settle()
    assert said == ["first", "still there"]
    assert among == set()


async def test_a_task_awaits_an_event_like_anything_else() -> None:
    event = Event(asyncio.get_running_loop())

    async def wait() -> str:
        await event
        return "told"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    event.happen()
    event.tell()
    assert await task == "told"


async def test_a_task_can_be_asked_for() -> None:
    said: list[str] = []

    async def serve() -> None:
        await in_task()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        said.append("in a task")

    run(serve(), set())
    assert said == []
    await settle()
    assert said == ["in a task"]


@pytest.mark.parametrize("waits_for", ["event", "future"])
async def test_a_cancelled_run_ends_where_it_waits(waits_for: str) -> None:
    loop = asyncio.get_running_loop()
    among: set[Any] = set()
    said: list[str] = []

    async def serve() -> None:
        try:
            await (Event(loop) if waits_for == "event" else loop.create_future())
        except asyncio.CancelledError:
            said.append("cancelled")

    one = run(serve(), among)
    assert among == {one}
    for each in among:
        each.cancel(msg="the server ends")  # as uvicorn does, which walks over the set
    await settle()
    assert said == ["cancelled"]
    assert among == set()


async def test_a_failure_is_logged_and_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    among: set[Any] = set()

    async def serve() -> None:
        raise RuntimeError("ours")

    run(serve(), among)
    assert among == set()
    assert "ours" in caplog.text
