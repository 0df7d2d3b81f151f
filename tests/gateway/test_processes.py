"""What operators and accidents do to the processes: drains, signals, kill -9, full disks, keys that come and go, too many callers."""

import json
import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from caller import Answer, Caller, chat, get, request
from conftest import config
from installation import Installation, wait_for
from upstream import STREAM_HEAD, Line, Received, Upstream, delta, event


class Held:
    """A stream whose first event comes at once and whose rest comes when it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def __call__(self, line: Line, request: Received) -> None:
        line.send(STREAM_HEAD)
        line.chunk(delta("first"))
        self.release.wait(20)
        line.chunk(delta("second", "stop"))
        line.chunk(event(b"[DONE]"))
        line.send(b"0\r\n\r\n")


def begin(shoal: Installation, model: str) -> Caller:
    """A streaming request of which the first event has arrived."""
    caller = Caller(shoal.port, shoal.key)
    caller.send(request(shoal.key, chat(f"up/{model}", stream=True)))
    while b"first" not in caller.unread:
        data = caller.socket.recv(65536)
        assert data
        caller.unread += data
    return caller


def readiness(port: int) -> Answer | None:
    """The answer of /readyz, or None if nobody listens."""
    try:
        with Caller(port) as caller:
            caller.send(get("", "/readyz"))
            return caller.answer()
    except ConnectionError:
        return None


def listens(port: int) -> bool:
    """Whether connections are accepted."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


# the end


def test_a_drain_finishes_streams_and_turns_new_callers_away_first(upstream: Upstream, tmp_path: Path) -> None:
    held = Held()
    upstream.play("drain", held)
    shoal = Installation(tmp_path, config(upstream, times="", drain_s=1.5, grace_s=20.0)).start()
    with begin(shoal, "drain") as streaming, Caller(shoal.port, shoal.key) as idle:
        assert idle.ask(chat("up/x")).status == 200
        shoal.process.send_signal(signal.SIGTERM)
        unready = wait_for(lambda: (found := readiness(shoal.port)) and found.status == 503 and found, "readiness' end")
        assert unready.json["reason"] == "the server is shutting down"
        late = idle.ask(chat("up/x"))  # who comes while load balancers have not noticed is served, and sent elsewhere
        assert (late.status, late.headers["connection"]) == (200, "close")
        assert idle.closed()
        wait_for(lambda: not listens(shoal.port), "the listeners' end")
        assert shoal.process.poll() is None
        held.release.set()
        answer = streaming.answer()
        assert not answer.cut
        assert answer.events[-1] == b"[DONE]"
    assert shoal.wait() == 0
    rows = sqlite3.connect(tmp_path / "shoal.db").execute("SELECT count(*) FROM requests").fetchone()
    assert rows == (3,)  # folded before the end


def test_who_does_not_finish_in_time_is_told(upstream: Upstream, tmp_path: Path) -> None:
    upstream.play("grace", held := Held())
    shoal = Installation(tmp_path, config(upstream, times="", drain_s=0.1, grace_s=1.0)).start()
    with begin(shoal, "grace") as streaming:
        assert shoal.stop() == 0
        answer = streaming.answer()
        assert not answer.cut
        assert json.loads(answer.events[-1])["error"]["code"] == "draining"
    held.release.set()


def test_a_second_signal_ends_at_once(upstream: Upstream, tmp_path: Path) -> None:
    upstream.play("second-signal", held := Held())
    shoal = Installation(tmp_path, config(upstream, times="", drain_s=20.0, grace_s=20.0)).start()
    with begin(shoal, "second-signal"):
        worker = shoal.worker()
        shoal.process.send_signal(signal.SIGTERM)
        wait_for(lambda: (found := readiness(shoal.port)) and found.status == 503, "the drain")
        shoal.process.send_signal(signal.SIGTERM)
        shoal.process.wait(5)
        wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker's end", 5)
    held.release.set()
    shoal.wait()


# accidents


@pytest.fixture(scope="module")
def victim(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that comes to harm, and goes on."""
    server = Installation(tmp_path_factory.mktemp("victim"), config(upstream)).start()
    yield server
    if server.process.poll() is None:
        server.kill()


def stored(shoal: Installation) -> list[str]:
    """The ids of all requests in the store."""
    with sqlite3.connect(f"file:{shoal.home / 'shoal.db'}?mode=ro", uri=True) as database:
        return [row[0] for row in database.execute("SELECT request_id FROM requests")]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux' prlimit to fill a disk")
def test_a_full_disk_is_told_and_recovered_from(victim: Installation) -> None:
    worker = victim.worker()
    limits = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    with Caller(victim.port, victim.key) as caller:
        before = caller.ask(chat("up/disk"))
        assert before.status == 200
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        for body in (chat("up/disk"), chat("no-such-model"), {}):
            answer = caller.ask(body)
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert "disk" in answer.error["message"]
        answer = caller.ask(chat("up/disk", stream=True))
        assert json.loads(answer.events[-1])["error"]["code"] == "overloaded"
        assert b"[DONE]" not in answer.body
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limits)
        after = caller.ask(chat("up/disk"))
        assert after.status == 200
    expected = {one.headers["x-request-id"] for one in (before, after)}
    wait_for(lambda: expected <= set(stored(victim)), "the fold")
    assert len(stored(victim)) == 2
    assert "Traceback" not in victim.log()


def test_what_was_answered_survives_the_kill_of_a_worker(victim: Installation) -> None:
    """Under load, twice: the worker is back in seconds, and every answer a caller has is in the store, once."""
    answered: list[str] = []
    ended = threading.Event()

    def load(_: int) -> None:
        while not ended.is_set():
            try:
                with Caller(victim.port, victim.key) as caller:
                    for turn in range(1000):
                        answer = caller.ask(chat("up/load", stream=bool(turn % 2)))
                        whole = answer.events[-1:] == [b"[DONE]"] if turn % 2 else answer.status == 200
                        if answer.cut or not whole:
                            break
                        answered.append(answer.headers["x-request-id"])
                        if ended.is_set():
                            return
            except ConnectionError:
                continue

    with ThreadPoolExecutor(6) as pool:
        list_of_loads = [pool.submit(load, n) for n in range(6)]
        try:
            for _ in range(2):
                goal = len(answered) + 100
                wait_for(lambda goal=goal: len(answered) >= goal, "a hundred answers")
                worker = victim.worker()
                killed = time.monotonic()
                worker.kill()
                goal = len(answered) + 20
                wait_for(lambda goal=goal: len(answered) >= goal, "answers of a new worker")
                assert time.monotonic() - killed < 15
                assert victim.worker().pid != worker.pid
        finally:
            ended.set()
        for one in list_of_loads:
            one.result()
    wait_for(lambda: set(answered) <= set(stored(victim)), "the fold")
    assert len(stored(victim)) == len(set(stored(victim)))
    assert len(answered) == len(set(answered))


def test_a_worker_does_not_outlive_its_parent(victim: Installation) -> None:
    worker = victim.worker()
    victim.process.kill()
    died = time.monotonic()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker's end", 5)
    assert time.monotonic() - died < 1.0
    wait_for(lambda: not listens(victim.port), "the port's end", 5)  # a kernel may close a dead process's sockets a little later
    victim.wait()
    before = set(stored(victim))
    victim.start(victim.port)  # the same port, at once
    with Caller(victim.port, victim.key) as caller:
        answer = caller.ask(chat("up/x"))
        assert answer.status == 200
    wait_for(lambda: before | {answer.headers["x-request-id"]} <= set(stored(victim)), "the fold")
    assert victim.stop() == 0
    assert list((victim.home / "journal").glob("*.jsonl")) == []


def test_one_of_two_workers_dies_and_nobody_waits(upstream: Upstream, tmp_path: Path) -> None:
    """A stream of the other worker goes on, receipts are found whoever wrote them, and connections are taken at once."""
    upstream.play("two", held := Held())
    shoal = Installation(tmp_path, config(upstream, times="", workers=2, grace_s=5.0)).start()
    with begin(shoal, "two") as streaming:
        (other,) = [worker for worker in shoal.workers() if not serves(worker, streaming)]
        names = []
        for _ in range(20):
            with Caller(shoal.port, shoal.key) as caller:
                names.append(caller.ask(chat("up/x")).headers["x-request-id"])
        other.kill()
        other.wait(10)
        with Caller(shoal.port, shoal.key) as caller:
            assert caller.ask(chat("up/x")).status == 200
            for name in names:
                caller.send(get(shoal.key, f"/v1/receipts/{name}"))
                assert caller.answer().json["id"] == name
        held.release.set()
        assert streaming.answer().events[-1] == b"[DONE]"
    assert shoal.stop() == 0


def serves(process: psutil.Process, caller: Caller) -> bool:
    """Whether this process has the other end of a caller's connection."""
    return any(one.raddr == caller.socket.getsockname() for one in process.net_connections() if one.raddr)


# keys


def test_keys_take_effect_within_a_second(shoal: Installation) -> None:
    def status(key: str) -> int:
        with Caller(shoal.port, key) as caller:
            return caller.ask(chat("up/x")).status

    secret = shoal.shoal("keys", "create", "short-lived").strip()
    made = time.monotonic()
    assert status(secret) == 200  # looked up in the store
    assert time.monotonic() - made < 1.0
    with Caller(shoal.port, secret) as connected:
        assert connected.ask(chat("up/x")).status == 200
        shoal.shoal("keys", "revoke", "short-lived")
        revoked = time.monotonic()
        wait_for(lambda: status(secret) == 401, "the refusal")
        assert time.monotonic() - revoked < 1.0
        assert connected.ask(chat("up/x")).status == 401  # on a connection that it had opened, too
    assert status(shoal.key) == 200


def test_a_receipt_is_its_owners_alone(shoal: Installation) -> None:
    other = shoal.shoal("keys", "create", "other").strip()
    with Caller(shoal.port, shoal.key) as caller:
        name = caller.ask(chat("up/x")).headers["x-request-id"]
        caller.send(get(other, f"/v1/receipts/{name}"))
        assert caller.answer().error["code"] == "not_found"
        caller.send(get(shoal.key, f"/v1/receipts/{name}"))
        assert caller.answer().json["id"] == name


# too many


@pytest.fixture(scope="module")
def tight(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server with little patience for strangers, and few places."""
    server = Installation(tmp_path_factory.mktemp("tight"), config(upstream, refusals_per_s=1.0, max_connections=20)).start()
    yield server
    assert server.stop() == 0


def test_who_guesses_keys_is_slowed_down(tight: Installation) -> None:
    with Caller(tight.port) as caller:
        seen = []
        for number in range(8):
            caller.send(request(f"sk-shoal-{number:043d}", chat("up/x")))
            answer = caller.answer()
            seen.append(answer.status)
            if answer.status == 429:
                assert answer.error["code"] == "rate_limit_exceeded"
                assert int(answer.headers["retry-after"]) >= 1
        assert seen[:3] == [401, 401, 401]
        assert 429 in seen
        caller.key = tight.key
        assert caller.ask(chat("up/x")).status == 200  # a good key is not affected
        caller.key = "sk-bad"
        wait_for(lambda: caller.ask(chat("up/x")).status == 401, "forgiveness")


def test_many_who_come_at_once_with_a_new_key_are_no_strangers(tight: Installation) -> None:
    def ask_at_once() -> list[int]:
        secret = tight.shoal("keys", "create", f"many {time.monotonic_ns()}").strip()
        callers = [Caller(tight.port, secret) for _ in range(15)]
        try:
            for caller in callers:
                caller.send(request(secret, chat("up/x")))
            return [caller.answer().status for caller in callers]
        finally:
            for caller in callers:
                caller.socket.close()

    # those who guessed before have used up this address's patience, which comes back within seconds
    assert wait_for(lambda: (found := ask_at_once()) != [429] * 15 and found, "patience") == [200] * 15


def test_who_is_one_too_many_is_told(tight: Installation) -> None:
    callers = [Caller(tight.port, tight.key) for _ in range(30)]
    try:
        turned_away = 0
        for caller in callers:
            answer = caller.ask(chat("up/x"))
            assert answer.status in (200, 503) or answer.cut
            if answer.status == 503:
                assert answer.error["code"] == "overloaded"
                assert answer.headers["retry-after"] == "1"
            turned_away += answer.status != 200
        assert turned_away >= 10
    finally:
        for caller in callers:
            caller.socket.close()

    def served() -> bool:
        with Caller(tight.port, tight.key) as caller:
            return caller.ask(chat("up/x")).status == 200

    wait_for(served, "room")


def test_descriptors_are_given_back(shoal: Installation) -> None:
    """A thousand callers that leave without a word, in the middle of everything, leave nothing behind."""
    worker = shoal.worker()
    pieces = (b"", b"POST /v1", request(shoal.key, chat("up/x"))[:-3], request(shoal.key, chat("up/x")), b"NONSENSE\r\n\r\n")

    def open_sockets() -> int:
        return len(worker.net_connections())

    with Caller(shoal.port, shoal.key) as caller:
        caller.ask(chat("up/x"))
        before = open_sockets()
        for number in range(1000):
            with Caller(shoal.port) as other:
                other.send(pieces[number % len(pieces)])
        assert caller.ask(chat("up/x")).status == 200
        wait_for(lambda: open_sockets() <= before + 20, "the sockets' end")  # pooled upstream connections may stay
