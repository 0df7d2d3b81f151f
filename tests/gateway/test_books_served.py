"""What the books say of servers that come to harm under load: every answer that came whole is charged once, and a rate is kept."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from caller import Caller, chat
from conftest import config
from installation import Installation, wait_for
from shoal.storage.store import Store
from treasury import USD, in_store, make_key, make_prepaid
from upstream import Line, Received, Upstream, completion, whole

MODEL = """
[models.drawn]
deployments = [{ provider = "up", price = { input = 1.0, output = 2.0 }, max_output_tokens = 20, context_tokens = 400 }]
"""
WALLET = 1_000 * USD


@pytest.fixture(scope="module")
def shoal(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server of two workers, with a model whose answers use another number of tokens each time."""
    lock, asked = threading.Lock(), iter(range(10**9))

    def script(line: Line, received: Received) -> None:
        with lock:
            number = next(asked)
        usage = {"prompt_tokens": number * 7 % 90, "completion_tokens": number * 3 % 19 + 1}
        line.send(whole(completion() | {"usage": usage | {"total_tokens": sum(usage.values())}}))

    upstream.play("drawn", script)
    server = Installation(tmp_path_factory.mktemp("books"), config(upstream, MODEL, workers=2)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


@contextmanager
def load(shoal: Installation, key: str, callers: int) -> Iterator[dict[str, Decimal]]:
    """Callers who ask for as long as this lasts; what whole answers said that they cost, by request."""
    costs: dict[str, Decimal] = {}
    ended = threading.Event()

    def call(_: int) -> None:
        while not ended.is_set():
            try:
                with Caller(shoal.port, key) as caller:
                    while not ended.is_set():
                        answer = caller.ask(chat("drawn"))
                        if answer.cut or answer.status != 200:
                            break
                        assert answer.headers["x-request-id"] not in costs
                        costs[answer.headers["x-request-id"]] = json.loads(answer.body, parse_float=Decimal)["usage"]["cost"]
            except ConnectionError:
                time.sleep(0.01)  # nobody listens yet

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, number) for number in range(callers)]
        try:
            yield costs
        finally:
            ended.set()
        for one in calls:
            one.result()


def go_on(costs: dict[str, Decimal], more: int = 40) -> None:
    """Wait for some more answers."""
    goal = len(costs) + more
    wait_for(lambda: len(costs) >= goal, "more answers", 60)


def charges(shoal: Installation) -> dict[str, int]:
    """What the store has charged, in nano-USD by request."""
    with closing(sqlite3.connect(f"file:{shoal.home / 'shoal.db'}?mode=ro", uri=True)) as store:
        return dict(store.execute("SELECT request_id, charged_nano FROM requests WHERE charged_nano IS NOT NULL").fetchall())


def held(store_file: Path) -> int:
    """The nano-USD that are lent."""
    with closing(sqlite3.connect(f"file:{store_file}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT coalesce(sum(amount_nano), 0) FROM leases").fetchone()[0])


def test_whoever_is_killed_every_whole_answer_is_charged_once(shoal: Installation) -> None:
    key = make_prepaid(shoal, "killed", WALLET)
    with load(shoal, key, 6) as costs:
        go_on(costs)
        for module in ("shoal.wiring.worker", "shoal.wiring.bookkeeper"):
            shoal.child(module).kill()
            go_on(costs)
        family = psutil.Process(shoal.process.pid).children(recursive=True)
        port = shoal.port
        shoal.kill()
        psutil.wait_procs(family, timeout=30)
        shoal.start(port)
        go_on(costs)
    wait_for(lambda: held(shoal.home / "shoal.db") == 0, "the return of all that was lent", 60)
    charged = charges(shoal)
    assert {one: charged.get(one) for one in costs} == {one: int(cost * USD) for one, cost in costs.items()}

    async def look(store: Store) -> tuple[int, list[str]]:
        (organisation,) = [one for one in await store.organisations.list_all() if one.name == "killed"]
        return (await store.ledger.balance(organisation.id)).balance_nano, await store.ledger.check()

    assert in_store(shoal, look) == (WALLET - sum(charged.values()), [])


def test_a_rate_is_kept_by_all_workers_together(shoal: Installation) -> None:
    burst, per_s, lasts_s = 10, 10.0, 3.0
    key = make_key(shoal, "rated", rpm=600, burst=burst)
    admitted: list[tuple[float, float]] = []
    began = time.monotonic()

    def call(_: int) -> None:
        with Caller(shoal.port, key) as caller:
            while (sent := time.monotonic()) < began + lasts_s:
                if caller.ask(chat("drawn")).status == 200:
                    admitted.append((sent, time.monotonic()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert len(admitted) >= 0.8 * (burst + per_s * lasts_s)
    for begin, _ in admitted:
        for _, end in admitted:
            within = sum(sent >= begin and answered <= end for sent, answered in admitted)
            assert within <= burst + per_s * max(0.0, end - begin)
