"""What several do at the same moment is done as if they had stood in line: one of two changes, one of many redemptions, one credit."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
from test_money_api import balance, paid, signed, tell

CALLERS = 8


def at_once(ask: Callable[[int], httpx.Response]) -> Counter[int]:
    """Everybody asks at the same moment; how often each status came."""
    line = Barrier(CALLERS)

    def one(number: int) -> int:
        line.wait()
        return ask(number).status_code

    with ThreadPoolExecutor(CALLERS) as pool:
        return Counter(pool.map(one, range(CALLERS)))


def test_of_changes_at_once_one_is_made(desk: Any) -> None:
    firm = desk.found("crowd")
    path = f"/organisations/{firm.id}"
    told = at_once(lambda number: desk.operator.ask("PATCH", path, {"low_balance_usd": number, "version": 1}))
    assert told == {200: 1, 409: CALLERS - 1}
    etag = {"if-match": '"2"'}
    told = at_once(lambda number: desk.operator.ask("PATCH", path, {"low_balance_usd": number}, headers=etag))
    assert told == {200: 1, 412: CALLERS - 1}
    assert desk.operator.done("GET", path)["version"] == 3
    told = at_once(lambda _: firm.owner.ask("POST", f"{path}/keys", {"name": "same"}))
    assert told == {201: 1, 400: CALLERS - 1}
    told = at_once(lambda _: firm.owner.ask("POST", f"{path}/projects", {"name": "same"}))
    assert told == {201: 1, 409: CALLERS - 1}


def test_of_money_told_of_at_once_all_counts_once(desk: Any, rival: Any) -> None:
    firm = desk.found("rush")
    code = desk.operator.done("POST", "/codes", {"amount_usd": 3})["code"]
    orgs = (firm, rival)
    before = balance(desk, rival)
    told = at_once(
        lambda number: (who := orgs[number % 2]).owner.ask("POST", f"/organisations/{who.id}/wallet/redemptions", {"code": code})
    )
    assert told == {201: 1, 404: CALLERS - 1}
    assert float(balance(desk, firm)) + float(balance(desk, rival)) == float(before) + 3
    had = float(balance(desk, firm))
    top_up = {"amount_usd": 5, "reference": "once"}
    told = at_once(lambda _: desk.operator.ask("POST", f"/organisations/{firm.id}/wallet/top-ups", top_up))
    assert told == {201: CALLERS}
    event = paid("evt_rush", firm.id, cents=700)
    assert at_once(lambda _: tell(desk, event, signed(event, time.time()))) == {200: CALLERS}
    assert float(balance(desk, firm)) == had + 5 + 7
    assert desk.operator.done("GET", "/ledger/check")["right"]


def test_the_last_owner_stays_whoever_goes_first(desk: Any) -> None:
    firm = desk.found("partners")
    path = f"/organisations/{firm.id}/members"
    firm.owner.done("POST", path, {"email": "second@partners.example", "role": "owner"})
    owners = [one for one in firm.viewer.walk(path) if one["role"] == "owner"]
    told = at_once(lambda number: desk.operator.ask("DELETE", f"{path}/{owners[number % 2]['id']}", params={"version": 1}))
    assert told[200] == 1
    assert [one["role"] for one in desk.operator.walk(path)].count("owner") == 1
