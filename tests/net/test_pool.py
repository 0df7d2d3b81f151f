"""The pool of upstream connections against a scripted upstream: reuse, bounds, deadlines, and everything an upstream may do wrong."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shoal.core.errors import Fault
from shoal.net import upstream as connection
from shoal.net.client import Pool
from shoal.net.limits import Timeouts
from shoal.net.target import parse_target
from shoal.net.upstream import Heard, Response
from upstream import STREAM_HEAD, Line, Received, Upstream, chunked, head, says, whole

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: up\r\n"
TIMES = Timeouts(connect_s=5.0, first_byte_s=5.0, idle_s=5.0, total_s=20.0)
Open = Callable[..., Pool]


@pytest.fixture
async def open_pool(upstream: Upstream) -> AsyncIterator[Open]:
    """Pools to the scripted upstream (or another port), closed after the test."""
    pools = []

    def open_(size: int = 4, port: int | None = None) -> Pool:
        pools.append(Pool(parse_target(f"http://127.0.0.1:{port or upstream.port}/v1"), size))
        return pools[-1]

    yield open_
    for pool in pools:
        pool.close()


def send(
    pool: Pool, model: str, times: Timeouts = TIMES, heard: Heard | None = None, silence_s: float | None = None
) -> Awaitable[Response]:
    """A request for a model."""
    return pool.send(HEAD, json.dumps({"model": model}).encode(), times, heard, silence_s)


def send_several(
    pool: Pool, model: str, heard: Heard, silence_s: float, times: Timeouts = TIMES, count: int = 5
) -> "list[asyncio.Future[Response]]":
    """As many as make an upstream silent, if it is to them."""
    return [asyncio.ensure_future(send(pool, model, times, heard, silence_s)) for _ in range(count)]


async def text(pool: Pool, model: str, times: Timeouts = TIMES, heard: Heard | None = None) -> bytes:
    """The whole body."""
    response = await send(pool, model, times, heard)
    try:
        return await response.read()
    finally:
        response.close()


async def fail(pool: Pool, model: str, times: Timeouts = TIMES) -> str:
    """The kind of fault that a request ends in."""
    with pytest.raises(Fault) as found:
        await text(pool, model, times)
    return found.value.kind


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is watched happens on another thread
            await asyncio.sleep(0.001)


async def test_connections_are_reused(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-reuse", says(whole(b"{}")))
    pool, before = open_pool(), upstream.connections
    for _ in range(5):
        assert await text(pool, "pool-reuse") == b"{}"
    assert upstream.connections == before + 1
    assert (len(pool.idle), len(pool.busy)) == (1, 0)


@pytest.mark.parametrize(
    ("name", "answer", "body"),
    [
        ("length", whole(b"{}"), b"{}"),
        ("chunks", STREAM_HEAD + chunked([b"a", b"bc" * 1000, b"d"]), b"a" + b"bc" * 1000 + b"d"),
        ("extension", STREAM_HEAD + b"1;x=y\r\na\r\n0\r\nx-trailer: 1\r\n\r\n", b"a"),
        ("upper", STREAM_HEAD + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + whole(b"{}"), b"{}"),
        ("empty", whole(b""), b""),
        ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_framings_are_understood(upstream: Upstream, open_pool: Open, name: str, answer: bytes, body: bytes) -> None:
    upstream.play(f"pool-{name}", says(answer))
    pool = open_pool()
    assert [await text(pool, f"pool-{name}") for _ in range(2)] == [body, body]
    assert len(pool.idle) == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_may_end_with_the_connection(upstream: Upstream, open_pool: Open, version: bytes) -> None:
    def play(line: Line, request: Received) -> None:
        line.send(b"HTTP/%b 200 OK\r\nconnection: close\r\n\r\nab" % version)
        line.send(b"cd")
        line.close()

    upstream.play(f"pool-eof-{version.decode()}", play)
    pool = open_pool()
    assert [await text(pool, f"pool-eof-{version.decode()}") for _ in range(2)] == [b"abcd", b"abcd"]
    assert pool.idle == []


async def test_a_connection_closed_between_requests_is_replaced(upstream: Upstream, open_pool: Open) -> None:
    """The upstream closes on the second request's first byte, which is what a keep-alive timeout looks like."""

    def hang_up(line: Line, request: Received) -> None:
        line.close()

    upstream.play("pool-stale", says(whole(b"{}")), hang_up, says(whole(b"[]")))
    pool = open_pool()
    assert await text(pool, "pool-stale") == b"{}"
    assert await text(pool, "pool-stale") == b"[]"


async def test_a_fresh_connection_that_closes_is_a_fault(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-mute", lambda line, request: line.close())
    assert await fail(open_pool(), "pool-mute") == "upstream_cut"
    assert len(upstream.received("pool-mute")) == 1


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("not http", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("bad size", STREAM_HEAD + b"zz\r\nabc\r\n0\r\n\r\n"),
        ("negative size", STREAM_HEAD + b"-1\r\nabc\r\n"),
        ("huge size", STREAM_HEAD + b"f" * 40 + b"\r\n"),
        ("chunk without end", STREAM_HEAD + b"1\r\nabc"),
        ("two lengths", head(framing="content-length: 2\r\ncontent-length: 3\r\n") + b"{} "),
        ("length and chunks", head(framing="content-length: 2\r\ntransfer-encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\n\r\n"),
        ("negative length", head(framing="content-length: -2\r\n")),
        ("nul in a header", head(headers="x-a: \0\r\n")),
        ("header without colon", head(headers="nonsense\r\n")),
        ("switching protocols", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
        ("huge head", b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 400_000),
    ],
)
async def test_garbage_is_garbled(upstream: Upstream, open_pool: Open, name: str, answer: bytes) -> None:
    upstream.play(f"pool {name}", says(answer))
    pool = open_pool()
    assert await fail(pool, f"pool {name}") == "upstream_garbled"
    await until(lambda: not pool.busy)
    assert pool.idle == []


async def test_a_second_answer_is_nobodys(upstream: Upstream, open_pool: Open) -> None:
    """An answer that nobody asked for must not be taken for the answer to the next request."""
    poison = whole(b'{"poison":1}')
    upstream.play("pool-poison", says(whole(b"{}") + poison[:40]), says(poison[40:] + whole(b"{}")))
    upstream.play("pool-double", says(whole(b"{}") + poison))
    for model in ("pool-poison", "pool-double"):
        pool = open_pool()
        assert await text(pool, model) == b"{}"
        await until(lambda pool=pool: not pool.idle)
    upstream.play("pool-clean", says(whole(b"[]")))
    assert await text(pool, "pool-clean") == b"[]"


async def test_an_idle_connection_that_speaks_is_closed(upstream: Upstream, open_pool: Open) -> None:
    spoken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def play(line: Line, request: Received) -> None:
        line.send(whole(b"{}"))
        asyncio.run_coroutine_threadsafe(spoken.wait(), loop).result(10)
        line.send(whole(b'{"poison":1}'))

    upstream.play("pool-late", play)
    pool = open_pool()
    assert await text(pool, "pool-late") == b"{}"
    assert len(pool.idle) == 1
    spoken.set()
    await until(lambda: not pool.idle)


@pytest.mark.parametrize(
    ("times", "answer", "said"),
    [
        (Timeouts(1, 0.2, 5, 5), b"", "did not begin"),
        (Timeouts(1, 5, 0.2, 5), STREAM_HEAD + b"1\r\na\r\n", "stopped sending"),
        (Timeouts(1, 5, 5, 0.3), STREAM_HEAD + b"1\r\na\r\n", "not complete"),
        (Timeouts(1, 5, 0.2, 5), b"HTTP/1.1 200 OK\r\nx-a: b", "did not begin"),
    ],
)
async def test_every_wait_has_an_end(upstream: Upstream, open_pool: Open, times: Timeouts, answer: bytes, said: str) -> None:
    upstream.play(f"pool-slow {said} {times.idle_s}", says(answer))
    with pytest.raises(Fault, match=said) as found:
        await text(open_pool(), f"pool-slow {said} {times.idle_s}", times)
    assert found.value.kind == "upstream_timeout"


async def test_who_may_not_connect_is_told(open_pool: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Fault, match=r"Connect call failed|refused") as found:
        await text(open_pool(port=port), "x")
    assert found.value.kind == "upstream_unreachable"


async def test_a_failed_connection_gives_its_place_away(open_pool: Open) -> None:
    """With one place, everybody who waits learns at once that nobody can connect, not only who was first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pool = open_pool(1, port)
    async with asyncio.timeout(4):  # less than the 5 s for which one waits for a place
        kinds = await asyncio.gather(*(fail(pool, "x") for _ in range(5)))
    assert set(kinds) == {"upstream_unreachable"}


async def test_the_pool_is_bounded(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-bound", says(whole(b"{}")))
    pool, before = open_pool(3), upstream.connections
    assert await asyncio.gather(*(text(pool, "pool-bound") for _ in range(50))) == [b"{}"] * 50
    assert upstream.connections <= before + 3


async def test_a_full_pool_says_so(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-full", says(b""))
    pool = open_pool(1)
    first = asyncio.ensure_future(text(pool, "pool-full"))
    await until(lambda: len(pool.busy) == 1)
    assert await fail(pool, "pool-full", Timeouts(connect_s=0.1)) == "overloaded"
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    upstream.play("pool-full", says(whole(b"{}")))
    assert await text(pool, "pool-full") == b"{}"


async def test_who_gives_up_waiting_passes_the_place_on(upstream: Upstream, open_pool: Open) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def play(line: Line, request: Received) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
        line.send(whole(b"{}"))

    upstream.play("pool-pass", play, says(whole(b"{}")))
    pool = open_pool(1)
    tasks = [asyncio.ensure_future(text(pool, "pool-pass")) for _ in range(3)]
    await until(lambda: len(pool.busy) == 1)
    admit = pool._admit_next

    def admit_and_leave() -> None:
        admit()
        tasks[1].cancel()  # in the very moment in which it is given the place
        pool._admit_next = admit  # type: ignore[method-assign]

    pool._admit_next = admit_and_leave  # type: ignore[method-assign]
    release.set()
    async with asyncio.timeout(4):
        assert await tasks[0] == b"{}"
        assert await tasks[2] == b"{}"
    assert tasks[1].cancelled()


async def test_who_leaves_closes_the_connection(upstream: Upstream, open_pool: Open) -> None:
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[float] = loop.create_future()
    upstream.play("pool-leave", lambda line, request: loop.call_soon_threadsafe(gone.set_result, line.wait_gone()))
    pool = open_pool()
    task = asyncio.ensure_future(text(pool, "pool-leave"))
    await until(lambda: len(upstream.received("pool-leave")) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await gone
    assert not pool.busy


async def test_an_endless_body_is_given_up(upstream: Upstream, open_pool: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_BODY_LIMIT", 1_000_000)
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()

    def play(line: Line, request: Received) -> None:
        line.socket.sendall(STREAM_HEAD)
        try:
            while True:
                line.socket.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            loop.call_soon_threadsafe(gone.set_result, None)
        line.close()

    upstream.play("pool-endless", play)
    pool = open_pool()
    assert await fail(pool, "pool-endless") == "upstream_garbled"
    async with asyncio.timeout(5):
        await gone
    assert not pool.busy


async def test_nothing_is_handed_over_after_a_failure(upstream: Upstream, open_pool: Open) -> None:
    """The reader's failure ends the answer, even when more of it arrives in the same read."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def play(line: Line, request: Received) -> None:
        line.send(STREAM_HEAD)
        asyncio.run_coroutine_threadsafe(begun.wait(), loop).result(10)
        line.send(chunked([b"a", b"b", b"c", b"d"]))

    upstream.play("pool-refuse", play)
    seen = []

    def feed(data: bytes) -> None:
        seen.append(data)
        if data == b"b":
            raise Fault("upstream_garbled", "not this")

    pool = open_pool()
    response = await send(pool, "pool-refuse")
    loop.call_soon(begun.set)
    with pytest.raises(Fault, match="not this"):
        await response.relay(feed)
    assert seen == [b"a", b"b"]
    await until(lambda: not pool.busy)
    assert pool.idle == []


async def test_a_reader_who_pauses_at_the_first_piece_stays_paused(upstream: Upstream, open_pool: Open) -> None:
    sent = 0

    def play(line: Line, request: Received) -> None:
        nonlocal sent
        line.send(STREAM_HEAD)
        while sent < 300:
            line.chunk(b"x" * 65536)
            sent += 1
        line.send(b"0\r\n\r\n")

    upstream.play("pool-pause", play)
    pool = open_pool()
    response = await send(pool, "pool-pause")
    size = 0
    paused = False

    def feed(data: bytes) -> None:
        nonlocal size, paused
        size += len(data)
        if not paused:
            paused = True
            response.pause()

    await until(lambda: response.size > 100_000)  # some of it is here before anyone reads
    task = asyncio.ensure_future(response.relay(feed))
    await until(lambda: paused)
    before = sent
    while True:  # until the upstream's buffers are full
        await asyncio.sleep(0.05)
        if sent == before:
            break
        before = sent
    assert size < 1_000_000
    assert sent < 300
    response.resume()
    await task
    assert size == 300 * 65536


def mute(line: Line, request: Received) -> None:
    """Says nothing until the other end hangs up."""
    line.wait_gone()
    line.close()


async def test_an_upstream_that_is_silent_to_several_is_given_up(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-silent", mute)
    pool, heard = open_pool(size=8), Heard()

    async def ask() -> Fault:
        with pytest.raises(Fault) as found:
            await send(pool, "pool-silent", TIMES, heard, 0.2)
        return found.value

    started = pool.loop.time()
    faults = await asyncio.gather(*(ask() for _ in range(5)))
    assert {fault.kind for fault in faults} == {"upstream_timeout"}
    assert "nothing" in faults[0].message
    assert 0.2 <= pool.loop.time() - started < TIMES.first_byte_s
    assert (await ask()).kind == "upstream_timeout"  # it has not been heard since: one is enough now


async def test_few_who_wait_do_not_make_an_upstream_silent(upstream: Upstream, open_pool: Open) -> None:
    go_on = threading.Event()

    def slow(line: Line, request: Received) -> None:
        go_on.wait()
        line.send(whole(b"{}"))

    upstream.play("pool-slow", slow)
    waiting = send_several(open_pool(size=8), "pool-slow", Heard(), 0.1, count=4)
    await asyncio.sleep(0.4)  # four times their patience
    go_on.set()
    assert [one.status for one in await asyncio.gather(*waiting)] == [200] * 4


async def test_a_pause_of_our_own_is_no_silence(upstream: Upstream, open_pool: Open) -> None:
    go_on = threading.Event()

    def ready(line: Line, request: Received) -> None:
        go_on.wait()
        line.send(whole(b"{}"))

    upstream.play("pool-first", says(whole(b"{}")))
    upstream.play("pool-ready", ready)
    pool, heard, before = open_pool(size=8), Heard(), len(upstream.received("pool-ready"))
    await text(pool, "pool-first", TIMES, heard)
    waiting = send_several(pool, "pool-ready", heard, 0.3)
    await until(lambda: len(upstream.received("pool-ready")) == before + 5)
    go_on.set()
    time.sleep(0.5)  # noqa: ASYNC251 - the loop itself is held up, while the answers arrive
    pool._sweep()  # as a loop does that looks at its timers before it reads
    assert [one.status for one in await asyncio.gather(*waiting)] == [200] * 5


async def test_who_is_heard_by_others_is_not_silent(upstream: Upstream, open_pool: Open) -> None:
    upstream.play("pool-mute", mute)
    upstream.play("pool-heard", says(whole(b"{}")))
    pool = open_pool(size=16)
    times = Timeouts(connect_s=5.0, first_byte_s=0.6, idle_s=5.0, total_s=20.0)
    heard, another = Heard(), Heard()
    waiting, others = send_several(pool, "pool-mute", heard, 0.3, times), send_several(pool, "pool-mute", another, 0.3, times)
    while not all(one.done() for one in (*waiting, *others)):
        await text(pool, "pool-heard", TIMES, heard)
        await asyncio.sleep(0.02)
    for requests, why in ((waiting, "0.6 s"), (others, "said nothing")):  # what is said of another model is no sign of life of this one
        faults = [one.exception() for one in requests]
        assert all(isinstance(fault, Fault) and why in fault.message for fault in faults)


async def test_a_stream_that_can_be_replaced_ends_with_the_silence_and_others_wait_on(upstream: Upstream, open_pool: Open) -> None:
    def begin(line: Line, request: Received) -> None:
        line.send(STREAM_HEAD + b"5\r\nhello\r\n")
        mute(line, request)

    upstream.play("pool-begun", begin)
    upstream.play("pool-never", mute)
    pool, heard = open_pool(size=8), Heard()
    replaceable, other = [await send(pool, "pool-begun", TIMES, heard) for _ in range(2)]
    replaceable.replaceable = True
    reading = [asyncio.ensure_future(one.read()) for one in (replaceable, other)]
    waiting = send_several(pool, "pool-never", heard, 0.2)
    with pytest.raises(Fault, match="said nothing") as found:
        await reading[0]
    assert found.value.kind == "upstream_timeout"
    assert all(isinstance(one, Fault) for one in await asyncio.gather(*waiting, return_exceptions=True))
    assert not reading[1].done()
    other.close()
    with pytest.raises(Fault):
        await reading[1]
