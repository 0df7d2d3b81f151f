"""Organisations, projects, members and keys over HTTP, as those who look after them do it, and callers who use what was made."""

import time
from typing import Any

import httpx
import pytest

from desk import plain_config
from installation import Installation, wait_for
from treasury import make_key
from upstream import Upstream


def answer_of(desk: Any, secret: str, model: str = "up/hello") -> httpx.Response:
    """A chat with a key."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return desk.operator.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"})


def status_soon(desk: Any, secret: str, wanted: int, model: str = "up/hello") -> httpx.Response:
    """The answer once it has this status: servers follow within a second."""
    return wait_for(lambda: found if (found := answer_of(desk, secret, model)).status_code == wanted else None, f"status {wanted}")


def test_an_organisation_is_made_shown_changed_and_closed(desk: Any) -> None:
    body = {"name": "Café", "markup_percent": 10.5, "markups_percent": {"openai/gpt": "0.0001", "route/x": 0}, "low_balance_usd": "0.30"}
    made = desk.operator.ask("POST", "/organisations", body)
    assert made.status_code == 201
    assert made.headers["etag"] == '"1"'
    assert made.headers["cache-control"] == "no-store"
    organisation = made.json()
    path = f"/organisations/{organisation['id']}"
    assert organisation["markups_percent"] == {"openai/gpt": "0.0001", "route/x": "0"}
    assert (organisation["markup_percent"], organisation["low_balance_usd"], organisation["prepaid"]) == ("10.5", "0.3", True)
    assert desk.operator.done("GET", path) == organisation
    changed = desk.operator.done("PATCH", path, {"low_balance_usd": None, "free_monthly_usd": 1.1, "version": 1})
    assert (changed["low_balance_usd"], changed["free_monthly_usd"], changed["name"], changed["version"]) == (None, "1.1", "Café", 2)
    assert desk.operator.refused(409, "PATCH", path, {"name": "x", "version": 1})["param"] == "version"
    assert desk.operator.refused(412, "PATCH", path, {"name": "x"}, headers={"if-match": '"1"'})["param"] == "If-Match"
    assert desk.operator.refused(400, "PATCH", path, {"name": "x"})["param"] == "version"
    assert desk.operator.refused(409, "POST", "/organisations", {"name": "Cafe\u0301"})["param"] == "name"
    closed = desk.operator.done("DELETE", path, headers={"if-match": 'W/"2"'})
    assert closed["closed_at"] is not None
    assert closed["version"] == 3
    assert "closed, for good" in desk.operator.refused(409, "PATCH", path, {"name": "again", "version": 3})["message"]
    assert "closed, for good" in desk.operator.refused(409, "DELETE", path, headers={"if-match": 'W/"3"'})["message"]
    assert desk.operator.done("GET", path) == closed


def test_amounts_are_exact(desk: Any) -> None:
    body = '{"name": "exact", "low_balance_usd": 12345678.123456789}'
    made = desk.operator.ask("POST", "/organisations", content=body, headers={"content-type": "application/json"})
    assert made.json()["low_balance_usd"] == "12345678.123456789"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ('{"low_balance_usd": -1}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": 0.0000000001}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": 1e18}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": 1e999999}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": "Infinity"}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": "-0.5"}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": "5 EUR"}', "low_balance_usd", "invalid_value"),
        ('{"low_balance_usd": true}', "low_balance_usd", "invalid_type"),
        ('{"markup_percent": 100001}', "markup_percent", "invalid_value"),
        ('{"markup_percent": 0.00001}', "markup_percent", "invalid_value"),
        ('{"markups_percent": {"": 1}}', "markups_percent", "invalid_value"),
        ('{"currency": "EUR"}', "currency", "invalid_value"),
        ('{"prepaid": "yes"}', "prepaid", "invalid_type"),
        ('{"prepaid": 1}', "prepaid", "invalid_type"),
        ('{"id": "org_operator"}', "id", "unsupported_parameter"),
        ('{"balance_nano": 1}', "balance_nano", "unsupported_parameter"),
        ('{"name": ""}', "name", "invalid_value"),
        ('{"name": "a\\nb"}', "name", "invalid_value"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(desk: Any, body: str, param: str, code: str) -> None:
    text = body if '"name"' in body else body.replace("{", '{"name": "never", ', 1)
    answer = desk.operator.ask("POST", "/organisations", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert "never" not in [one["name"] for one in desk.operator.walk("/organisations", limit=200)]


def test_projects_and_members(desk: Any, acme: Any) -> None:
    path = f"/organisations/{acme.id}"
    project = acme.admin.done("POST", f"{path}/projects", {"name": "side", "keep_bodies": True, "retention_days": 7})
    changed = acme.admin.done("PATCH", f"{path}/projects/{project['id']}", {"retention_days": None, "may_train": True, "version": 1})
    assert (changed["retention_days"], changed["keep_bodies"], changed["version"]) == (None, True, 2)
    assert (project["may_train"], changed["may_train"]) == (False, True)
    assert acme.viewer.done("GET", f"{path}/projects/{project['id']}") == changed
    assert acme.admin.refused(400, "POST", f"{path}/projects", {"name": "x", "retention_days": 0})["param"] == "retention_days"
    archived = acme.admin.done("DELETE", f"{path}/projects/{project['id']}?version=2")
    assert archived["archived_at"] is not None
    member = acme.owner.done("POST", f"{path}/members", {"email": "New@ACME.example"})
    assert (member["email"], member["role"], member["name"]) == ("new@acme.example", "viewer", "new@acme.example")
    assert acme.owner.refused(409, "POST", f"{path}/members", {"email": "new@acme.example"})["param"] == "email"
    promoted = acme.owner.done("PATCH", f"{path}/members/{member['id']}", {"role": "developer", "version": 1})
    assert promoted["role"] == "developer"
    acme.owner.done("DELETE", f"{path}/members/{member['id']}", headers={"if-match": '"2"'})
    acme.owner.refused(404, "GET", f"{path}/members/{member['id']}")


def test_a_key_has_its_terms_from_the_first_to_the_last(desk: Any, upstream: Upstream) -> None:
    path = "/organisations/org_operator/keys"
    body = {
        "name": "with terms",
        "scopes": {"models": ["up/*"], "endpoints": ["chat"]},
        "ips": ["127.0.0.0/8"],
        "budgets_usd": {"daily": "5.00", "total": 0.1},
        "limits": {"requests_per_minute": 600, "parallel_requests": 3},
        "metadata": {"team": "🐟"},
        "tags": ["a", "b"],
        "retention": "none",
        "expires_at": "2099-01-01T00:00:00+01:00",
    }
    made = desk.operator.done("POST", path, body)
    key, secret = made["key"], made["secret"]
    assert key["budgets_usd"] == {"daily": "5", "weekly": None, "monthly": None, "total": "0.1"}
    assert key["limits"] == {"requests_per_minute": 600, "tokens_per_minute": None, "parallel_requests": 3, "burst_requests": None}
    assert (key["expires_at"], key["tags"], key["metadata"]) == ("2098-12-31T23:00:00.000Z", ["a", "b"], {"team": "🐟"})
    assert (key["ends_in"], key["retention"]) == (secret[-4:], "none")
    assert secret not in desk.operator.ask("GET", f"{path}/{key['id']}").text
    change = {"scopes": {"models": ["up/hello"]}, "budgets_usd": {"daily": None, "total": None}, "limits": {"requests_per_minute": None}}
    changed = desk.operator.done("PATCH", f"{path}/{key['id']}", {**change, "version": 1})
    assert changed["scopes"] == {"models": ["up/hello"], "endpoints": ["chat"], "routes": None}
    assert changed["budgets_usd"]["daily"] is None
    assert (changed["limits"]["requests_per_minute"], changed["limits"]["parallel_requests"]) == (None, 3)
    assert (changed["metadata"], changed["version"]) == ({"team": "🐟"}, 2)
    assert status_soon(desk, secret, 200).status_code == 200
    assert status_soon(desk, secret, 403, "up/other").json()["error"]["code"] == "permission_denied"
    second = desk.operator.done("POST", f"{path}/{key['id']}/rotate", {"grace_s": 600, "version": 2})
    assert status_soon(desk, second["secret"], 200).status_code == 200
    assert answer_of(desk, secret).status_code == 200
    third = desk.operator.done("POST", f"{path}/{key['id']}/rotate", {"version": 3})
    status_soon(desk, second["secret"], 401)
    assert desk.operator.done("DELETE", f"{path}/{key['id']}")["revoked_at"] is not None
    for one in (secret, third["secret"]):
        status_soon(desk, one, 401)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"budgets_usd": {"daily": -1}}, "budgets_usd.daily"),
        ({"budgets_usd": {"yearly": 1}}, "budgets_usd.yearly"),
        ({"limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"limits": {"requests_per_minute": 1.5}}, "limits.requests_per_minute"),
        ({"ips": ["not an address"]}, None),
        ({"tags": ["x" * 65]}, "tags.0"),
        ({"tags": ["x"] * 65}, "tags"),
        ({"metadata": {"a": 1}}, "metadata.*"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "1960-01-01T00:00:00Z"}, "expires_at"),
        ({"hash": "x"}, "hash"),
        ({"kind": "operator"}, "kind"),
        ({"kind": "admin", "budgets_usd": {"daily": 1}}, "kind"),
        ({"project_id": "proj_nobodys"}, "project_id"),
        ({"name": "sk-shoal-x"}, "name"),
    ],
)
def test_terms_that_do_not_fit_make_no_key(desk: Any, change: dict[str, Any], param: str | None) -> None:
    path = "/organisations/org_operator/keys"
    answer = desk.operator.ask("POST", path, {"name": "never made", **change})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param
    assert "never made" not in [one["name"] for one in desk.operator.walk(path, limit=200)]


def test_lists_come_in_pages(desk: Any, rival: Any) -> None:
    path = f"/organisations/{rival.id}"
    whole = desk.operator.walk(f"{path}/keys", limit=200)
    assert len(whole) == 5
    assert desk.operator.walk(f"{path}/keys", limit=1) == whole
    assert desk.operator.walk(f"{path}/members", limit=3) == desk.operator.walk(f"{path}/members", limit=200)
    assert desk.operator.walk(f"{path}/audit", limit=2) == desk.operator.walk(f"{path}/audit", limit=200)
    assert [one["id"] for one in rival.viewer.walk("/organisations", limit=1)] == [rival.id]
    for limit in (0, 201, "x"):
        assert desk.operator.refused(400, "GET", f"{path}/keys", params={"limit": limit})["param"] == "limit"
    assert desk.operator.refused(400, "GET", f"{path}/keys", params={"cursor": "bm9uc2Vuc2U"})["param"] == "cursor"
    assert desk.operator.refused(400, "GET", f"{path}/keys", params={"sort": "x"})["param"] == "sort"


def test_every_act_is_in_the_audit_log(desk: Any, rival: Any) -> None:
    acts = list(reversed(rival.admin.walk(f"/organisations/{rival.id}/audit", limit=200)))
    assert acts[0]["action"] == "organisation.create"
    assert {act["action"] for act in acts[1:9]} == {"member.add", "key.create"}
    root = desk.operator.walk("/organisations/org_operator/keys", limit=200)
    assert {act["actor"] for act in acts[:10]} == {next(key["id"] for key in root if key["name"] == "root")}
    assert [act["id"] for act in desk.operator.walk("/audit", organisation_id=rival.id)] == [act["id"] for act in reversed(acts)]


def test_the_path_goes_on_without_the_desk_which_comes_back(upstream: Upstream, tmp_path: Any) -> None:
    shoal = Installation(tmp_path / "home", plain_config(upstream)).start()
    try:
        key = make_key(shoal, "root", kind="admin")
        url, headers = f"http://127.0.0.1:{shoal.port}", {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            assert client.get("/admin/v1/organisations", headers=headers).status_code == 200
            first = shoal.child("shoal.wiring.desk")
            first.suspend()  # so that it cannot be replaced before it is missed
            (shoal.home / "desk.sock").unlink()
            away = client.get("/admin/v1/organisations", headers=headers)
            assert (away.status_code, away.headers["retry-after"], away.json()["error"]["code"]) == (503, "1", "overloaded")
            body = {"model": "up/hello", "messages": [{"role": "user", "content": "hi"}]}
            answer = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {shoal.key}"})
            assert answer.status_code == 200
            first.kill()
            back = wait_for(
                lambda: found if (found := client.get("/admin/v1/organisations", headers=headers)).status_code == 200 else None, "the desk"
            )
            assert back.json()["data"][0]["id"] == "org_operator"
            assert shoal.child("shoal.wiring.desk").pid != first.pid
        started = time.monotonic()
        assert shoal.stop() == 0
        assert time.monotonic() - started < 20
        assert not (shoal.home / "desk.sock").exists()
    finally:
        if shoal.process.poll() is None:
            shoal.kill()
