"""Money over HTTP: into wallets by top-ups, codes and Stripe's events, out of them by use, and what statements and sums say of it."""

import csv
import hashlib
import hmac
import io
import json
import time
from typing import Any

import httpx
import pytest

from desk import STRIPE_SECRET, plain_config
from installation import Installation, wait_for
from shoal.control.stripe import TOLERANCE_S, verify
from shoal.core.errors import Fault
from treasury import make_key


def signed(body: bytes, at_s: float, secret: str = STRIPE_SECRET) -> str:
    """The header that Stripe sends with a body."""
    text = f"{int(at_s)}".encode()
    return f"t={int(at_s)},v1={hmac.new(secret.encode(), text + b'.' + body, hashlib.sha256).hexdigest()},v0=00"


def paid(event_id: str, org_id: str, cents: int = 500, **change: Any) -> bytes:
    """The event of a checkout that was paid."""
    session = {
        "object": "checkout.session",
        "amount_total": cents,
        "currency": "usd",
        "payment_status": "paid",
        "payment_intent": f"pi_{event_id}",
        "client_reference_id": org_id,
        "metadata": {},
        **change,
    }
    return json.dumps({"id": event_id, "object": "event", "type": "checkout.session.completed", "data": {"object": session}}).encode()


def tell(desk: Any, body: bytes, signature: str | None) -> httpx.Response:
    """Send an event as Stripe does."""
    headers = {"content-type": "application/json; charset=utf-8"} | ({} if signature is None else {"stripe-signature": signature})
    return desk.operator.client.post("/admin/v1/webhooks/stripe", content=body, headers=headers)


def balance(desk: Any, firm: Any) -> str:
    """What is in a wallet."""
    return str(desk.operator.done("GET", f"/organisations/{firm.id}/wallet")["balance_usd"])


@pytest.fixture(scope="module")
def firm(desk: Any) -> Any:
    """An organisation with money of its own."""
    return desk.found("money")


def test_a_top_up_counts_once_by_its_reference(desk: Any, firm: Any) -> None:
    path = f"/organisations/{firm.id}/wallet"
    first = desk.operator.done("POST", f"{path}/top-ups", {"amount_usd": "10.5", "reference": "invoice-1", "memo": "=1+1"})
    assert (first["applied"], first["wallet"]["balance_usd"], first["wallet"]["available_usd"]) == (True, "10.5", "10.5")
    again = desk.operator.done("POST", f"{path}/top-ups", {"amount_usd": 10.5, "reference": "invoice-1"})
    assert (again["applied"], again["wallet"]["balance_usd"]) == (False, "10.5")
    lower = desk.operator.done("POST", f"{path}/adjustments", {"amount_usd": "-0.500000001", "memo": "oops"})
    assert lower["wallet"]["balance_usd"] == "9.999999999"
    for body in ({"amount_usd": 0}, {"amount_usd": -1}, {"amount_usd": "1e10"}, {"amount_usd": "1,5"}, {"amount_usd": [1]}, {}):
        assert desk.operator.refused(400, "POST", f"{path}/top-ups", body)["param"] == "amount_usd"
    assert desk.operator.refused(400, "POST", f"{path}/top-ups", {"amount_usd": 1, "currency": "eur"})["param"] == "currency"
    assert desk.operator.refused(400, "POST", f"{path}/adjustments", {"amount_usd": -10, "memo": "too much"})["param"] == "amount"
    assert desk.operator.refused(400, "POST", f"{path}/adjustments", {"amount_usd": 1})["param"] == "memo"
    assert balance(desk, firm) == "9.999999999"
    assert desk.operator.done("GET", "/ledger/check")["right"]


def test_a_statement_adds_up_and_no_spreadsheet_computes_it(desk: Any, firm: Any) -> None:
    path = f"/organisations/{firm.id}/wallet"
    statement = firm.viewer.done("GET", f"{path}/statement")
    assert [one["amount_usd"] for one in statement["positions"]] == ["10.5", "-0.500000001"]
    assert (statement["opening_usd"], statement["closing_usd"]) == ("0", "9.999999999")
    answer = firm.viewer.ask("GET", f"{path}/statement.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["balance_usd"] for row in rows] == ["0", "10.5", "9.999999999", "9.999999999"]
    assert rows[1]["memo"] == "'=1+1"
    moved = firm.viewer.walk(f"{path}/movements", limit=1)
    assert [one["amount_usd"] for one in moved] == ["-0.500000001", "10.5"]
    for query in ({"since": "yesterday"}, {"since": "2026-02-30"}, {"since": "2020-01-01"}, {"since": "2026-01-02", "until": "2026-01-01"}):
        assert firm.viewer.refused(400, "GET", f"{path}/statement", params=query)["param"] == "since"


def test_a_code_is_worth_something_once(desk: Any, firm: Any, rival: Any) -> None:
    before = balance(desk, rival)
    made = desk.operator.done("POST", "/codes", {"amount_usd": "2.5", "expires_at": "2099-01-01T00:00:00Z"})
    code = made["code"].lower().replace("-", " ")
    redeemed = rival.admin.done("POST", f"/organisations/{rival.id}/wallet/redemptions", {"code": code})
    assert (redeemed["amount_usd"], redeemed["wallet"]["balance_usd"]) == ("2.5", str(float(before) + 2.5))
    assert firm.admin.refused(404, "POST", f"/organisations/{firm.id}/wallet/redemptions", {"code": made["code"]})["param"] == "code"
    expired = desk.operator.done("POST", "/codes", {"amount_usd": 1, "expires_at": "2001-01-01T00:00:00Z"})["code"]
    firm.admin.refused(404, "POST", f"/organisations/{firm.id}/wallet/redemptions", {"code": expired})
    listed = desk.operator.walk("/codes", limit=1)
    assert next(one for one in listed if one["organisation_id"] == rival.id)["amount_usd"] == "2.5"
    for body in ({"amount_usd": 0}, {"amount_usd": -1}, {"amount_usd": "x"}):
        assert desk.operator.refused(400, "POST", "/codes", body)["param"] == "amount_usd"


def test_what_stripe_signs_is_credited_once(desk: Any) -> None:
    firm, now = desk.found("payer"), time.time()
    body = paid("evt_1", firm.id)
    assert tell(desk, body, signed(body, now)).json() == {"received": True, "credited": True}
    assert balance(desk, firm) == "5"
    for again in (body, paid("evt_2", firm.id, payment_intent="pi_evt_1")):  # the same event, and another of the same payment
        assert tell(desk, again, signed(again, now)).json() == {"received": True, "credited": False}
    assert balance(desk, firm) == "5"
    by_metadata = paid("evt_3", "", client_reference_id=None, metadata={"organisation_id": firm.id}, cents=1)
    assert tell(desk, by_metadata, signed(by_metadata, now)).json()["credited"]
    assert balance(desk, firm) == "5.01"
    for other in (paid("evt_4", firm.id, payment_status="unpaid"), b'{"id": "evt_5", "type": "customer.created", "data": {"object": {}}}'):
        assert tell(desk, other, signed(other, now)).json() == {"received": True, "credited": False}
    assert balance(desk, firm) == "5.01"
    acts = [act for act in desk.operator.walk(f"/organisations/{firm.id}/audit") if act["action"] == "payment"]
    assert [act["detail"]["amount_nano"] for act in acts] == [10_000_000, 5_000_000_000]
    assert {act["actor"] for act in acts} == {"stripe"}


def test_what_stripe_did_not_sign_is_not_believed(desk: Any, rival: Any) -> None:
    before, now = balance(desk, rival), time.time()
    body = paid("evt_forged", rival.id, cents=99_999)
    good = signed(body, now)
    forged = (
        None,
        "",
        "t=,v1=",
        f"t={int(now)}",
        good.replace("v1=", "v0="),
        good.replace("v1=", "v1=0"),
        good.replace(f"t={int(now)}", f"t={int(now) + 1}"),
        f"t={int(now)},{good}",
        signed(body, now, "another secret"),
        signed(body, now, ""),
        signed(body + b" ", now),
        signed(body, now - TOLERANCE_S - 60),
        signed(body, now + TOLERANCE_S + 60),
        good.replace("t=", "t=\u0661"),
        "v1=" + "a," * 2000,
    )
    for signature in forged:
        answer = tell(desk, body, signature if signature is None else signature.encode("utf-8", "replace"))  # type: ignore[arg-type]
        assert answer.status_code == 403, (signature, answer.text)
        assert STRIPE_SECRET not in answer.text
    assert balance(desk, rival) == before
    changed = body.replace(b"99999", b"99998")
    assert tell(desk, changed, good).status_code == 403
    wrong = {
        "currency": paid("evt_eur", rival.id, currency="eur"),
        "amount_total": paid("evt_less", rival.id, cents=-5),
        "organisation": paid("evt_nobody", "org_nobody"),
    }
    for param, event in wrong.items():
        answer = tell(desk, event, signed(event, now))
        assert (answer.status_code in (400, 404), answer.json()["error"]["param"]) == (True, param)
    for nonsense in (b"[]", b"{", b'{"id": 7}', b'{"id": "' + b"x" * 300 + b'", "type": "t", "data": {"object": {}}}'):
        assert tell(desk, nonsense, signed(nonsense, now)).status_code == 400
    assert balance(desk, rival) == before
    assert desk.operator.done("GET", "/ledger/check")["right"]


@pytest.mark.parametrize("secret", [None, b""])
def test_without_a_secret_nothing_is_believed(secret: bytes | None) -> None:
    body = paid("evt_1", "org_x")
    with pytest.raises(Fault, match="no secret") as refused:
        verify(body, signed(body, time.time(), ""), secret, time.time())
    assert refused.value.status == 403


def test_a_signature_by_an_earlier_secret_may_stand_beside_the_right_one() -> None:
    body, now = paid("evt_1", "org_x"), time.time()
    mine = signed(body, now).partition("v1=")[2].partition(",")[0]
    verify(body, f"t={int(now)}, v1={'0' * 64}, v1={mine}", STRIPE_SECRET.encode(), now)


def test_an_installation_without_a_secret_takes_no_payments(upstream: Any, tmp_path: Any) -> None:
    shoal = Installation(tmp_path / "home", plain_config(upstream, more='[credits]\nstripe_webhook_secret_env = "SHOAL_NOT_SET"\n')).start()
    try:
        body = paid("evt_1", "org_operator")
        headers = {"stripe-signature": signed(body, time.time(), ""), "content-type": "application/json"}
        url = f"http://127.0.0.1:{shoal.port}/admin/v1/webhooks/stripe"
        answer = httpx.post(url, content=body, headers=headers, trust_env=False, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    finally:
        assert shoal.stop() == 0


def test_use_is_charged_summed_up_logged_and_forgotten(desk: Any) -> None:
    firm = desk.found("user", markup_percent=50)
    path = f"/organisations/{firm.id}"
    desk.operator.done("POST", f"{path}/wallet/top-ups", {"amount_usd": 1})
    body = {"model": "priced", "messages": [{"role": "user", "content": "hi"}], "user": "ada", "max_tokens": 50}
    headers = {"authorization": f"Bearer {firm.inference}"}
    answers = [wait_for(lambda: _answer(desk, body, headers), "an answer") for _ in range(3)]
    log = wait_for(lambda: rows if len(rows := firm.viewer.walk(f"{path}/requests", limit=1)) == 3 else None, "the log")
    assert [row["id"] for row in log] == [answer["shoal"]["id"] for answer in reversed(answers)]
    assert {(row["user"], row["status"], row["requested_model"]) for row in log} == {("ada", 200, "priced")}
    usage = firm.viewer.done("GET", f"{path}/usage", params={"by": "model,project"})["data"]
    assert [(one["requests"], one["project_id"], one["unpriced"]) for one in usage] == [(3, firm.project_id, 0)]
    charged = sum(round(float(row["charged_usd"]) * 1e9) for row in log)
    cost = sum(round(float(row["cost_usd"]) * 1e9) for row in log)
    assert charged == round(float(usage[0]["charged_usd"]) * 1e9) == cost * 3 // 2 > 0
    assert round(float(balance(desk, firm)) * 1e9) == 10**9 - charged
    keys = firm.viewer.walk(f"{path}/usage", by="key", limit=1)
    assert [one["key_id"] for one in keys] == [log[0]["key_id"]]
    everybody = desk.operator.walk("/usage")
    assert next(one["requests"] for one in everybody if one["organisation_id"] == firm.id) == 3
    receipt = firm.viewer.done("GET", f"{path}/requests/{log[0]['id']}")["receipt"]
    assert receipt["id"] == log[0]["id"]
    for query, count in (
        ({"user": "ada"}, 3),
        ({"user": "bob"}, 0),
        ({"status": 200}, 3),
        ({"model": "x"}, 0),
        ({"until": log[0]["at"]}, 2),
    ):
        assert len(firm.viewer.walk(f"{path}/requests", **query)) == count, query
    assert firm.owner.done("POST", f"{path}/user-deletions", {"user": "ada"})["requests"] == 3
    assert {row["user"] for row in firm.viewer.walk(f"{path}/requests")} == {None}
    assert "ada" not in json.dumps(firm.admin.walk(f"{path}/audit"))
    assert desk.operator.done("GET", "/ledger/check")["right"]


def _answer(desk: Any, body: Any, headers: dict[str, str]) -> Any:
    answer = desk.operator.client.post("/v1/chat/completions", json=body, headers=headers)
    return answer.json() if answer.status_code == 200 else None


def test_alerts_and_holders_are_shown(desk: Any) -> None:
    firm = desk.found("low", low_balance_usd=5)
    holders = desk.operator.done("GET", "/ledger/holders")["data"]
    assert len(holders) >= 1
    assert desk.operator.refused(404, "DELETE", "/ledger/holders/hold_nobody")["param"] == "holder"
    path = f"/organisations/{firm.id}/alerts"
    assert firm.viewer.walk(path) == []
    assert firm.developer.refused(404, "POST", f"{path}/1/seen")["param"] == "alert"


def test_ips_of_a_key_made_here_hold_on_the_path(desk: Any) -> None:
    path = "/organisations/org_operator/keys"
    secret = desk.operator.done("POST", path, {"name": "elsewhere", "ips": ["10.0.0.0/8"]})["secret"]
    body = {"model": "up/hello", "messages": [{"role": "user", "content": "hi"}]}
    answer = desk.operator.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 403
    assert make_key(desk.shoal, "beside").startswith("sk-shoal-")
