"""The admin API is never open, never another's, and believes nothing that it was not told by whoever may."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from caller import Caller, request
from treasury import make_key

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/organisations"): {"name": "intruder"},
    ("PATCH", "/organisations/{org_id}"): {"name": "intruder", "version": 1},
    ("POST", "/organisations/{org_id}/projects"): {"name": "intruder"},
    ("PATCH", "/organisations/{org_id}/projects/{project_id}"): {"name": "intruder", "version": 1},
    ("POST", "/organisations/{org_id}/members"): {"email": "intruder@x.example", "role": "owner"},
    ("PATCH", "/organisations/{org_id}/members/{member_id}"): {"role": "owner", "version": 1},
    ("POST", "/organisations/{org_id}/keys"): {"name": "intruder"},
    ("PATCH", "/organisations/{org_id}/keys/{key_id}"): {"name": "intruder", "version": 1},
    ("POST", "/organisations/{org_id}/keys/{key_id}/rotate"): {"version": 1},
    ("POST", "/organisations/{org_id}/wallet/top-ups"): {"amount_usd": 1},
    ("POST", "/organisations/{org_id}/wallet/adjustments"): {"amount_usd": 1, "memo": "intruder"},
    ("POST", "/organisations/{org_id}/wallet/redemptions"): {"code": "AAAAA"},
    ("POST", "/organisations/{org_id}/user-deletions"): {"user": "intruder"},
    ("POST", "/codes"): {"amount_usd": 1},
}
SIGNED = ("POST", "/webhooks/stripe")
OF_THE_OPERATOR = {
    ("POST", "/organisations"),
    ("POST", "/codes"),
    ("GET", "/codes"),
    ("GET", "/audit"),
    ("GET", "/usage"),
    ("GET", "/ledger/check"),
    ("GET", "/ledger/holders"),
    ("DELETE", "/ledger/holders/{holder_id}"),
    ("DELETE", "/organisations/{org_id}"),
    ("POST", "/organisations/{org_id}/wallet/top-ups"),
    ("POST", "/organisations/{org_id}/wallet/adjustments"),
}
INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE api_keys; --",
    '" OR ""="',
    "%27%20OR%201=1--",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "../../../etc/passwd",
    "\\x00",
    "%00",
    "a' UNION SELECT hash FROM api_keys --",
    "$(id)",
    "<script>alert(1)</script>",
    "🐟\u202e",
)


@pytest.fixture(scope="module")
def endpoints(desk: Any) -> list[tuple[str, str]]:
    """Every method and path of the document, but the one that is signed."""
    document = desk.operator.done("GET", "/openapi.json")
    found = [
        (method.upper(), path.removeprefix("/admin/v1"))
        for path, operations in document["paths"].items()
        for method in operations
        if method != "parameters"
    ]
    assert SIGNED in found
    assert len(found) > 35
    assert {("POST", path) for method, path in BODIES if method == "POST"} <= set(found)
    return [one for one in found if one != SIGNED]


def fill(desk: Any, firm: Any, path: str) -> str:
    """A path with a firm's own ids."""
    if "{" not in path:
        return path
    members = desk.operator.walk(f"/organisations/{firm.id}/members")
    keys = desk.operator.walk(f"/organisations/{firm.id}/keys")
    ids = {"org_id": firm.id, "project_id": firm.project_id, "member_id": members[-1]["id"], "alert_id": "1", "holder_id": "hold_x"}
    ids |= {"key_id": next(key["id"] for key in keys if key["name"] == "app"), "request_id": "req_x", "student_id": "ft--minnow--x--y"}
    return path.format(**ids)


VERSIONED = ("{org_id}", "{project_id}", "{member_id}")


def version_of(method: str, path: str) -> dict[str, Any]:
    """What says the version where a body does not."""
    return {"params": {"version": 1}} if method == "DELETE" and path.endswith(VERSIONED) else {}


def everything(desk: Any) -> str:
    """All rows of the store, but for the log of acts and moments that pass."""
    with contextlib.closing(sqlite3.connect(desk.shoal.home / "shoal.db")) as database:
        tables = ["organisations", "projects", "members", "api_keys", "accounts", "movements", "postings", "codes", "audit"]
        return repr([database.execute(f"SELECT * FROM {table}").fetchall() for table in tables])


@pytest.fixture
def unchanged(desk: Any) -> Iterator[None]:
    """Nothing that the test does may change anything."""
    before = everything(desk)
    yield
    assert everything(desk) == before


def test_nothing_is_open(desk: Any, acme: Any, endpoints: list[tuple[str, str]]) -> None:
    revoked = desk.operator.done("POST", "/organisations/org_operator/keys", {"name": "revoked", "kind": "admin"})
    desk.operator.done("DELETE", f"/organisations/org_operator/keys/{revoked['key']['id']}")
    expired = make_key(desk.shoal, "expired", kind="admin", expires_at_ms=1)
    strangers: list[tuple[int, dict[str, str]]] = [
        (401, {}),
        (401, {"authorization": ""}),
        (401, {"authorization": "Bearer"}),
        (401, {"authorization": f"Basic {desk.operator.key}"}),
        (401, {"authorization": f"Bearer {'sk-shoal-' + 'x' * 43}"}),
        (401, {"authorization": f"Bearer {desk.operator.key[:-1]}"}),
        (401, {"authorization": f"Bearer {desk.operator.key}x"}),
        (401, {"authorization": f"Bearer {desk.operator.key.swapcase()}"}),
        (401, {"authorization": f"Bearer {revoked['secret']}"}),
        (401, {"authorization": f"Bearer {expired}"}),
        (403, {"authorization": f"Bearer {acme.inference}"}),
        (403, {"x-api-key": desk.shoal.key}),
    ]
    before = everything(desk)
    paths = [(method, fill(desk, acme, path), BODIES.get((method, path))) for method, path in endpoints]
    for method, path, body in [*paths, ("GET", "/openapi.json", None), ("GET", "/nowhere", None)]:
        for status, headers in strangers:
            answer = desk.operator.client.request(method, f"/admin/v1{path}", json=body, headers=headers)
            assert answer.status_code == status, (method, path, headers, answer.text)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert everything(desk) == before


def test_what_is_anothers_is_not_there(desk: Any, acme: Any, rival: Any, endpoints: list[tuple[str, str]], unchanged: None) -> None:
    for method, path in endpoints:
        if "{org_id}" not in path:
            continue
        told = []
        for org_id in (acme.id, "org_nobody", "org_operator"):
            filled = fill(desk, acme, path).replace(acme.id, org_id)
            answer = rival.owner.ask(method, filled, BODIES.get((method, path)), **version_of(method, path))
            assert answer.status_code == 404, (method, filled, answer.text)
            told.append(answer.text.replace(org_id, "ORG"))
        assert len(set(told)) == 1, told  # not even the error says which of them there are


def test_ids_of_others_are_not_ones_own(desk: Any, acme: Any, rival: Any, endpoints: list[tuple[str, str]], unchanged: None) -> None:
    tried = 0
    for method, path in endpoints:
        if "{org_id}" in path and path.count("{") == 2:
            filled = fill(desk, acme, path).replace(acme.id, rival.id)
            answer = rival.owner.ask(method, filled, BODIES.get((method, path)), **version_of(method, path))
            assert answer.status_code == 404, (method, filled, answer.text)
            tried += 1
    assert tried >= 11
    key = desk.operator.walk(f"/organisations/{acme.id}/keys")[0]
    for query in ({"key_id": key["id"]}, {"project_id": acme.project_id}):
        assert rival.owner.ask("GET", f"/organisations/{rival.id}/requests", params=query).status_code == 404
        assert rival.owner.done("GET", f"/organisations/{rival.id}/usage", params=query)["data"] == []


def test_what_is_the_operators_is_no_owners(desk: Any, acme: Any, endpoints: list[tuple[str, str]], unchanged: None) -> None:
    assert set(endpoints) >= OF_THE_OPERATOR
    for method, path in OF_THE_OPERATOR:
        answer = acme.owner.ask(method, fill(desk, acme, path), BODIES.get((method, path)), **version_of(method, path))
        assert answer.status_code == 403, (method, path, answer.text)


@pytest.mark.parametrize("role", ["viewer", "developer"])
def test_who_may_only_read_changes_nothing(desk: Any, acme: Any, endpoints: list[tuple[str, str]], role: str, unchanged: None) -> None:
    may = {("POST", "/organisations/{org_id}/keys"), ("PATCH", "/organisations/{org_id}/keys/{key_id}")}
    may |= {("POST", "/organisations/{org_id}/keys/{key_id}/rotate"), ("DELETE", "/organisations/{org_id}/keys/{key_id}")}
    may |= {("POST", "/organisations/{org_id}/students/{student_id}/current")}
    may |= {("POST", "/organisations/{org_id}/alerts/{alert_id}/seen")}
    for method, path in endpoints:
        if "{org_id}" in path and method != "GET" and not (role == "developer" and (method, path) in may):
            answer = getattr(acme, role).ask(method, fill(desk, acme, path), BODIES.get((method, path)), **version_of(method, path))
            assert answer.status_code == 403, (method, path, answer.text)
    acme.viewer.refused(403, "GET", f"/organisations/{acme.id}/audit")


def test_nobody_rises_above_the_own_role(desk: Any, acme: Any, unchanged: None) -> None:
    path = f"/organisations/{acme.id}"
    members = {member["role"]: member for member in acme.viewer.walk(f"{path}/members") if member["email"].endswith("@acme.example")}
    keys = {key["member_id"]: key for key in acme.viewer.walk(f"{path}/keys") if key["kind"] == "admin"}
    owner, admin = members["owner"]["id"], members["admin"]["id"]
    of_owner, of_admin = keys[owner]["id"], keys[admin]["id"]
    acme.admin.refused(403, "PATCH", f"{path}/members/{admin}", {"role": "owner", "version": 1})
    acme.admin.refused(403, "PATCH", f"{path}/members/{owner}", {"role": "viewer", "version": 1})
    acme.admin.refused(403, "DELETE", f"{path}/members/{owner}", params={"version": 1})
    acme.admin.refused(403, "POST", f"{path}/members", {"email": "x@acme.example", "role": "owner"})
    acme.admin.refused(403, "POST", f"{path}/keys", {"name": "x", "kind": "admin", "member_id": owner})
    acme.admin.refused(403, "POST", f"{path}/keys/{of_owner}/rotate", {"version": 1})
    acme.admin.refused(403, "PATCH", f"{path}/keys/{of_owner}", {"ips": [], "version": 1})
    acme.admin.refused(403, "DELETE", f"{path}/keys/{of_owner}")
    acme.developer.refused(403, "POST", f"{path}/keys/{of_admin}/rotate", {"version": 1})
    acme.developer.refused(403, "POST", f"{path}/keys", {"name": "x", "kind": "admin", "member_id": members["developer"]["id"]})
    assert acme.owner.refused(400, "POST", f"{path}/keys", {"name": "x", "kind": "admin"})["param"] == "member_id"
    operators = desk.operator.walk("/organisations/org_operator/members")
    assert operators == []
    acme.owner.refused(404, "POST", "/organisations/org_operator/keys", {"name": "x", "kind": "admin"})
    for change in ({"markup_percent": 0}, {"prepaid": False}, {"free_monthly_usd": 1000}, {"markups_percent": {}}):
        assert acme.owner.refused(403, "PATCH", path, {**change, "version": 1})["param"] == next(iter(change))


def test_a_role_that_is_taken_away_is_gone_at_once(desk: Any) -> None:
    firm = desk.found("fired")
    path = f"/organisations/{firm.id}/members"
    member = next(one for one in firm.owner.walk(path) if one["role"] == "admin")
    firm.owner.done("PATCH", f"{path}/{member['id']}", {"role": "viewer", "version": 1})
    firm.admin.refused(403, "POST", f"/organisations/{firm.id}/projects", {"name": "x"})
    firm.owner.done("DELETE", f"{path}/{member['id']}", params={"version": 2})
    firm.admin.refused(401, "GET", f"/organisations/{firm.id}")
    assert firm.owner.refused(400, "DELETE", f"{path}/{firm.owner.walk(path)[0]['id']}", params={"version": 1})["param"] == "role"
    desk.operator.done("DELETE", f"/organisations/{firm.id}", params={"version": 1})
    firm.owner.refused(401, "GET", f"/organisations/{firm.id}")


def test_a_key_for_administration_opens_nothing_else(desk: Any) -> None:
    for path in ("/v1/models", "/v1/key", "/openai/v1/models"):
        answer = desk.operator.client.get(path, headers={"authorization": f"Bearer {desk.operator.key}"})
        assert answer.status_code == 403
    body = {"model": "up/hello", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {desk.operator.key}"}
    assert desk.operator.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 403


def test_a_key_is_kept_to_its_addresses_whatever_headers_say(desk: Any) -> None:
    path = "/organisations/org_operator/keys"
    far = desk.admin(desk.operator.done("POST", path, {"name": "far", "kind": "admin", "ips": ["10.0.0.0/8"]})["secret"])
    near = desk.admin(desk.operator.done("POST", path, {"name": "near", "kind": "admin", "ips": ["127.0.0.0/8"]})["secret"])
    near.done("GET", "/organisations")
    for header in ("x-shoal-origin", "x-forwarded-for", "forwarded", "x-real-ip"):
        assert "127.0.0.1" in far.refused(403, "GET", "/organisations", headers={header: "10.1.2.3"})["message"]


@pytest.mark.parametrize(
    "target",
    [
        "//admin/v1/organisations",
        "/admin//v1/organisations",
        "/admin/v1//organisations",
        "/admin/v1/%6frganisations",
        "/admin/v1/organisations/%2e%2e/organisations",
        "/admin/v1/organisations/../organisations",
        "/admin/v1/webhooks/stripe/../../organisations",
        "/admin/v1/webhooks/stripe/",
        "/admin/v1/webhooks/stripe;x",
        "/admin/v1/webhooks/%73tripe",
        "/admin/v1/organisations;x=/admin/v1/webhooks/stripe",
        "/admin/v1/organisations#/admin/v1/webhooks/stripe",
        "/admin/v1/organisations/",
        "/ADMIN/v1/organisations",
        "/v1/../admin/v1/organisations",
        "/openai/admin/v1/organisations",
        "http://desk/admin/v1/organisations/",
        "/admin",
        "/admin/",
        "/admin/v2/organisations",
        "/unserved/openapi.json",
        "/admin/unserved/openapi.json",
    ],
)
def test_no_path_is_read_in_two_ways(desk: Any, target: str, unchanged: None) -> None:
    for method in ("GET", "POST"):
        for key in ("", desk.operator.key):
            with Caller(desk.shoal.port, key) as caller:
                authorization = {"authorization": f"Bearer {key}" if key else ""}
                caller.send(request(key, {"name": "intruder"}, target, authorization, method))
                answer = caller.answer()
            assert answer.status in ((401, 404) if not key else (404,)), (method, target, key, answer)


def test_the_host_opens_nothing(desk: Any) -> None:
    for host in ("desk", "localhost", "127.0.0.1", "admin.internal", "x' OR '1'='1"):
        answer = desk.operator.client.get("/admin/v1/organisations", headers={"host": host})
        assert answer.status_code == 401


@pytest.mark.parametrize("text", INJECTIONS)
def test_texts_are_texts_wherever_they_come_in(desk: Any, acme: Any, text: str, unchanged: None) -> None:
    header = text.encode("utf-8")
    client: httpx.Client = desk.operator.client
    for name in ("authorization", "x-api-key"):
        for value in (header, b"Bearer " + header, b"Bearer sk-shoal-" + header):
            answer = client.get("/admin/v1/organisations", headers=[(name.encode(), value)])
            assert answer.status_code == 401, answer.text
    path = f"/organisations/{acme.id}"
    for name in ("if-match", "stripe-signature", "x-shoal-origin", "content-type", "accept"):
        answer = desk.operator.ask("PATCH", path, content=b'{"name": "intruder"}', headers={name: header})
        assert 400 <= answer.status_code < 500, answer.text
    for place in ("keys", "requests", "usage", "audit", "members", "wallet/movements", "wallet/statement"):
        for parameter in ("cursor", "limit", "project_id", "key_id", "model", "user", "by", "since", "until", text[:32]):
            answer = desk.operator.ask("GET", f"{path}/{place}", params={parameter: text})
            assert answer.status_code in (200, 400, 404), answer.text
            if answer.status_code == 200 and place in ("requests", "usage"):
                assert answer.json()["data"] == []
    wrong = [
        ("POST", "/organisations", {"name": text * 65}),
        ("POST", f"{path}/projects", {"name": " " + text}),
        ("POST", f"{path}/members", {"email": text}),
        ("POST", f"{path}/members", {"email": "a@b.example", "role": text}),
        ("POST", f"{path}/keys", {"name": "x", "project_id": text}),
        ("POST", f"{path}/keys", {"name": "x", "member_id": text}),
        ("POST", f"{path}/keys", {"name": "x", "kind": text}),
        ("POST", f"{path}/keys", {"name": "x", "expires_at": text}),
        ("POST", f"{path}/keys", {"name": "x", "ips": [text]}),
        ("POST", f"{path}/keys", {"name": "x", "budgets_usd": {"daily": text}}),
        ("POST", f"{path}/wallet/top-ups", {"amount_usd": text}),
        ("POST", f"{path}/wallet/top-ups", {"amount_usd": 1, "currency": text}),
        ("POST", f"{path}/wallet/top-ups", {"amount_usd": 1, "reference": text + " "}),
        ("POST", f"{path}/wallet/redemptions", {"code": text}),
        ("PATCH", path, {"name": "x", "version": text}),
        ("PATCH", path, {text: "x", "version": 1}),
    ]
    for method, where, body in wrong:
        answer = desk.operator.ask(method, where, body)
        assert answer.status_code in (400, 404), (method, where, body, answer.text)


def test_texts_that_are_kept_come_back_as_they_were(desk: Any) -> None:
    firm = desk.found("texts")
    for number, text in enumerate(INJECTIONS):
        name = f"n{text[:60]}n" if text.isprintable() else f"n{number}"
        made = firm.owner.done("POST", f"/organisations/{firm.id}/keys", {"name": name, "metadata": {"a": text}, "tags": [text[:64]]})
        shown = firm.viewer.done("GET", f"/organisations/{firm.id}/keys/{made['key']['id']}")
        assert (shown["name"], shown["metadata"], shown["tags"]) == (name, {"a": text}, [text[:64]])
    assert desk.operator.done("GET", "/ledger/check") == {"right": True, "errors": []}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/organisations/{org}/keys", {"name": "x", "org_id": "org_operator"}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "organisation_id": "org_operator"}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "secret": "sk-shoal-mine"}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "hash": "00"}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "terms": {"daily_nano": None}}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "scopes": {"admin": True}}),
        ("POST", "/organisations/{org}/keys", {"name": "x", "prepaid": False}),
        ("PATCH", "/organisations/{org}", {"balance_usd": 5, "version": 1}),
        ("PATCH", "/organisations/{org}", {"id": "org_operator", "version": 1}),
        ("PATCH", "/organisations/{org}", {"closed_at": None, "version": 1}),
        ("POST", "/organisations/{org}/members", {"email": "a@b.example", "id": "mem_x"}),
        ("POST", "/organisations/{org}/members", {"email": "a@b.example", "org_id": "org_operator"}),
        ("POST", "/organisations/{org}/projects", {"name": "x", "organisation_id": "org_operator"}),
        ("POST", "/organisations/{org}/wallet/redemptions", {"code": "x", "amount_usd": 5}),
    ],
)
def test_what_is_not_named_cannot_be_assigned(desk: Any, acme: Any, method: str, path: str, body: Any, unchanged: None) -> None:
    error = acme.owner.refused(400, method, path.format(org=acme.id), body)
    assert error["code"] == "unsupported_parameter"
    assert error["param"].split(".")[-1] in json.dumps(body)


def test_sizes_are_bounded(desk: Any, acme: Any, unchanged: None) -> None:
    path = f"/organisations/{acme.id}/keys"
    acme.owner.refused(413, "POST", path, {"name": "x", "tags": ["t" * (1024 * 1024)]})
    assert acme.owner.refused(400, "POST", path, {"name": "x", "tags": ["t" * (1024 * 1024 - 100)]})["param"] == "tags.0"
    acme.owner.refused(400, "POST", path, {"name": "x" * 500_000})
    acme.owner.refused(400, "POST", path, {"name": "x", "metadata": {str(number): "" for number in range(17)}})
    json_type = {"content-type": "application/json"}
    for body in (
        b"[" * 100_000,
        b'{"name":' * 100_000,
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000"}',
        b"{",
        b"",
        b"7",
    ):
        acme.owner.refused(400, "POST", path, content=body, headers=json_type)
    acme.owner.refused(413, "POST", path, content=iter([b"x" * 1_000_000] * 2), headers=json_type)
    acme.owner.refused(415, "POST", path, content=b"name=x", headers={"content-type": "application/x-www-form-urlencoded"})
    acme.owner.refused(415, "POST", path, content=b"{}", headers={"content-type": "text/plain"})
    acme.owner.refused(400, "GET", path, params={"cursor": "x" * 4000})


def test_secrets_are_shown_once_and_then_nowhere(desk: Any) -> None:
    firm = desk.found("discreet")
    path = f"/organisations/{firm.id}"
    made = firm.owner.done("POST", f"{path}/keys", {"name": "one", "metadata": {"note": "kept"}})
    again = firm.owner.done("POST", f"{path}/keys/{made['key']['id']}/rotate", {"version": 1, "grace_s": 60})
    code = desk.operator.done("POST", "/codes", {"amount_usd": "1.00"})["code"]
    firm.owner.done("POST", f"{path}/wallet/redemptions", {"code": code})
    firm.owner.refused(404, "POST", f"{path}/wallet/redemptions", {"code": code})
    firm.owner.refused(409, "POST", f"{path}/keys/{made['key']['id']}/rotate", {"version": 1})
    secrets = [made["secret"], again["secret"], code, desk.operator.key, firm.owner.key, firm.inference]
    shown = [desk.operator.walk(f"{path}/{place}", limit=200) for place in ("keys", "members", "projects", "audit", "wallet/movements")]
    shown += [desk.operator.walk("/audit", limit=200), desk.operator.walk("/codes", limit=200), desk.operator.walk("/organisations")]
    text = json.dumps(shown) + desk.operator.ask("GET", f"{path}/wallet/statement.csv").text + desk.shoal.log()
    with contextlib.closing(sqlite3.connect(desk.shoal.home / "shoal.db")) as database:
        text += "\n".join(database.iterdump())
    assert "discreet" in text
    for secret in secrets:
        assert secret.removeprefix("sk-shoal-") not in text
