"""One gateway process: made of its parts, served until a signal ends it. Run by the parent as `python -m shoal.wiring.worker`.

What it settles goes into its journal; bookkeeper.py folds that.
"""

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from shoal.core.errors import Fault
from shoal.core.identity import KeyRecord
from shoal.core.lending import Spent, StoreAway
from shoal.gateway.accounts import Accounts
from shoal.gateway.auth import Keyring, KeySource, Knocks
from shoal.gateway.bodies import Bodies
from shoal.gateway.desk import Desk
from shoal.gateway.door import Door
from shoal.gateway.health import HealthBook, HedgeBudget
from shoal.gateway.status import Standing, Status
from shoal.gateway.world import World
from shoal.net import host
from shoal.net.limits import Limits
from shoal.net.outbox import outbox
from shoal.net.parent import follow_parent, tell_ready
from shoal.providers.minnow import Minnow
from shoal.routing.routes import build_routes
from shoal.settings import Settings, home, load
from shoal.storage.journal import Journal
from shoal.storage.keys import Key
from shoal.storage.lender import StoreLender
from shoal.storage.store import STORE_ERRORS, Store, open_store
from shoal.telemetry.log import configure
from shoal.telemetry.metrics import Metrics
from shoal.telemetry.tally import Tally
from shoal.tokens.counter import Counter
from shoal.tokens.estimate import estimate
from shoal.wiring.reach import Reach, reach

log = logging.getLogger("shoal")

PUBLISH_S = 1.0


async def work(settings: Settings, listener: socket.socket, number: int, mini_socket: str | None, desk_socket: Path | None) -> None:
    """Serve until a signal, then drain and close everything."""
    async with AsyncExitStack() as stack:
        store = await open_store(settings.storage.url or home() / "shoal.db")
        stack.push_async_callback(store.close)
        keyring = Keyring(_key_source(store))
        await keyring.refresh()
        journal = Journal(home() / "journal", f"w{number}")
        outgoing = outbox(asyncio.get_running_loop())
        outgoing.commit, journal.wake = journal.commit, outgoing.wake  # on record before it leaves
        folder = store.fold(home() / "journal", journal)
        within = await reach(settings, mini_socket, await store.credentials.open_all(home(), os.environ))
        stack.callback(within.channels.close)
        tally, standing = Tally(), Standing()
        metrics = Metrics(tally)
        lender = StoreLender(store.engine, home())
        stack.callback(lender.close)
        with contextlib.suppress(StoreAway):  # then it is tried again in the background
            await lender.beat()
        accounts = Accounts(lender, settings.server.workers)
        bodies = Bodies(store.projects.keeping, store.bodies.save)
        world = _world(settings, within, store, journal, tally, accounts, bodies)
        find_receipt = _receipt_finder(store, folder.flush)
        status = _status(standing, within, store, metrics, find_receipt)
        door = _door(settings, keyring, world, status, desk_socket)
        background = [
            _keep("keys", keyring.follow),
            _keep("accounts", accounts.run),
            _keep("bodies", bodies.follow),
            _keep("discovery", within.discovery.follow),
            _keep("metrics", lambda: _publish(metrics)),
        ]
        background += [_keep("minnow", within.minnow.follow)] if within.minnow is not None else []
        tasks = [asyncio.create_task(one) for one in background]
        gc.collect()
        gc.freeze()  # what exists now stays: no collection needs to walk it again

        def drain() -> None:
            standing.draining = True

        await host.serve(
            door,
            host.nowhere,
            sockets=[listener],
            limits=_limits(settings),
            drain=_drain(settings),
            tls=_tls(settings),
            on_drain=drain,
            on_ready=tell_ready,
        )
        await accounts.close()
        journal.close()
        with contextlib.suppress(Fault, *STORE_ERRORS):  # it has been in the log
            await bodies.flush()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _world(settings: Settings, within: Reach, store: Store, journal: Journal, tally: Tally, accounts: Accounts, bodies: Bodies) -> World:
    return World(
        within.catalogue,
        within.channels,
        journal,
        tally,
        HealthBook(time.monotonic),
        HedgeBudget(),
        estimate,
        build_routes(settings.routes),
        within.providers,
        counter=Counter(home() / "weights"),
        responses=store.responses,
        accounts=accounts,
        allows_unpriced=settings.credits.unknown_price == "allow",
        bodies=bodies,
    )


def _status(
    standing: Standing, within: Reach, store: Store, metrics: Metrics, find_receipt: Callable[[str, str], Awaitable[bytes | None]]
) -> Status:
    waits_for, catalogue = _waits_for(within.minnow), within.catalogue
    return Status(standing, waits_for, metrics.text, catalogue, find_receipt, store.responses, _spent_finder(store))


def _door(settings: Settings, keyring: Keyring, world: World, status: Status, desk_socket: Path | None) -> Door:
    proxies = [ipaddress.ip_network(one, strict=False) for one in settings.server.trusted_proxies]
    knocks = Knocks(settings.server.refusals_per_s, time.monotonic)
    return Door(keyring, knocks, world, status, proxies, None if desk_socket is None else Desk(desk_socket))


async def _keep(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """A background task that may fail, but not end."""
    while True:
        try:
            await work()
        except Fault as fault:  # the store is away, mostly
            log.error("the background task %s failed, it goes on in a second: %s", name, fault.message)
            await asyncio.sleep(1)
        except Exception:
            log.exception("the background task %s failed, it goes on in a second", name)
            await asyncio.sleep(1)


async def _publish(metrics: Metrics) -> None:
    while True:
        metrics.publish()
        await asyncio.sleep(PUBLISH_S)


def _key_source(store: Store) -> KeySource:
    async def changed_since(revision: int) -> list[KeyRecord]:
        return [_record(key) for key in await store.keys.changed_since(revision)]

    async def find(digest: bytes) -> KeyRecord | None:
        try:
            key = await store.keys.find(digest)
        except STORE_ERRORS as error:
            log.error("a key that is not known here cannot be looked up: %s", error)
            text = "The store that holds the keys cannot be reached, and this key is not known here yet; try again shortly."
            raise Fault("overloaded", text, retry_after_s=1) from None
        return None if key is None else _record(key)

    return KeySource(changed_since, find)


def _record(key: Key) -> KeyRecord:
    return KeyRecord(
        key.account_id,
        key.name,
        key.hash,
        key.revision,
        not key.active,
        key.kind,
        key.org_id,
        key.project_id,
        key.prepaid,
        key.markup,
        key.terms,
        key.expires_at_ms,
    )


def _spent_finder(store: Store) -> Callable[[str], Awaitable[Spent]]:
    spending = store.spending
    return lambda key_id: spending.of(key_id, time.time())


def _receipt_finder(store: Store, flush: Callable[..., Awaitable[None]]) -> Callable[[str, str], Awaitable[bytes | None]]:
    async def find(request_id: str, key_id: str) -> bytes | None:
        entry = await store.receipts.find(request_id)
        if entry is None:  # it may still be in a journal, this process's or another's
            await flush(everyone=True)
            entry = await store.receipts.find(request_id)
        return bytes(entry.receipt) if entry is not None and entry.key_id == key_id else None

    return find


def _waits_for(minnow: Minnow | None) -> Callable[[], str | None]:
    return lambda: None if minnow is None or minnow.ready else "the local model is being loaded"


def _limits(settings: Settings) -> Limits:
    server = settings.server
    return Limits(
        header_bytes=server.max_header_bytes,
        body_bytes=server.max_body_bytes,
        connections=server.max_connections,
        header_timeout_s=server.header_timeout_s,
        body_timeout_s=server.body_timeout_s,
        keep_alive_s=server.keep_alive_s,
    )


def _drain(settings: Settings) -> host.Drain:
    return host.Drain(settings.server.drain_s, settings.server.grace_s)


def _tls(settings: Settings) -> tuple[Path, Path] | None:
    server = settings.server
    return (Path(server.tls_cert), Path(server.tls_key)) if server.tls_cert and server.tls_key else None


def main() -> None:
    """Entry of the process: the listening socket comes as a file descriptor from the parent."""
    arguments = argparse.ArgumentParser(prog="shoal.wiring.worker")
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("--number", type=int, default=0)
    arguments.add_argument("--config", type=Path)
    arguments.add_argument("--mini-socket")
    arguments.add_argument("--desk-socket", type=Path)
    given = arguments.parse_args()
    configure()
    # without its parent a worker would be nobody's; what it has settled is in the journal
    follow_parent(lambda: os._exit(1))
    try:
        uvloop.run(work(load(given.config), socket.socket(fileno=given.fd), given.number, given.mini_socket, given.desk_socket))
    except Fault as fault:
        print(f"shoal: {fault.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
