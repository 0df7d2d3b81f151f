"""What callers keep is their own project's: whatever a stranger names, forges or bends, it is not there for it."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from caller import Caller, chat, request
from shoal.control.callers.entrance import enter
from shoal.control.callers.given import SCOPE
from shoal.core import caller as callers
from shoal.core.caller import read_caller, write_caller
from shoal.core.errors import Fault
from shoal.core.identity import Principal

ROW = b'{"messages": []}'
PREFIXES = ("/v1/files", "/v1/feedback", "/v1/chat/completions", "/openai/v1/files", "/v1/fine_tuning/jobs")


class Tenant:
    """Asks with one key."""

    def __init__(self, client: httpx.Client, key: str) -> None:
        self._client, self._key = client, key

    def ask(self, method: str, path: str, json: Any = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._key}"} | more.pop("headers", {})
        return self._client.request(method, path, json=json, headers=headers, **more)

    def done(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        answer = self.ask(method, path, json, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fill(self) -> dict[str, str]:
        """One of everything: ids by what they are."""
        said = self.ask("POST", "/v1/chat/completions", chat("up/x", store=True, metadata={"tenant": "me"}, user="ada"))
        request_id = said.headers["x-request-id"]
        stored = self.done("GET", f"/v1/chat/completions/{request_id}")["id"]
        word = self.done("POST", "/v1/feedback", {"request_id": request_id, "score": 1})["id"]
        form: Any = {"files": {"file": ("f", ROW)}, "data": {"purpose": "evals"}}
        return {"request": request_id, "completion": stored, "feedback": word, "file": self.done("POST", "/v1/files", **form)["id"]}


@pytest.fixture(scope="module")
def ours(desk: Any) -> Any:
    """An organisation, which need not pay in advance."""
    return desk.found("keeper", prepaid=False)


@pytest.fixture
def tenant(desk: Any, ours: Any) -> Tenant:
    return Tenant(desk.operator.client, ours.inference)


@pytest.fixture(scope="module")
def stranger(desk: Any) -> Tenant:
    return Tenant(desk.operator.client, desk.found("stranger", prepaid=False).inference)


def make_key(ours: Any, **terms: Any) -> str:
    path = f"/organisations/{ours.id}/keys"
    return str(ours.owner.done("POST", path, {"name": f"key {time.monotonic_ns()}", **terms})["secret"])


def test_what_is_another_s_is_not_there(tenant: Tenant, stranger: Tenant) -> None:
    ids, own = tenant.fill(), stranger.fill()
    for id in (ids["completion"], ids["request"]):
        for method, path, body in (
            ("GET", f"/v1/chat/completions/{id}", None),
            ("POST", f"/v1/chat/completions/{id}", {"metadata": {"mine": "now"}}),
            ("DELETE", f"/v1/chat/completions/{id}", None),
            ("GET", f"/v1/chat/completions/{id}/messages", None),
            ("POST", "/v1/feedback", {"request_id": id, "score": -1}),
            ("POST", "/v1/feedback", {"completion_id": id, "score": -1}),
            ("GET", f"/v1/feedback?request_id={id}", None),
        ):
            if id == own["completion"]:  # one upstream may give two tenants the same id: each has its own
                continue
            answer = stranger.ask(method, path, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (method, path, answer.text)
    for method, path in (
        ("GET", f"/v1/feedback/{ids['feedback']}"),
        ("DELETE", f"/v1/feedback/{ids['feedback']}"),
        ("GET", f"/v1/files/{ids['file']}"),
        ("GET", f"/v1/files/{ids['file']}/content"),
        ("DELETE", f"/v1/files/{ids['file']}"),
    ):
        assert stranger.ask(method, path).status_code == 404, (method, path)
    for path, id in (("/v1/files", ids["file"]), ("/v1/feedback", ids["feedback"]), ("/v1/chat/completions", ids["completion"])):
        after = stranger.ask("GET", path, params={"after": id})
        assert after.status_code == (200 if id == own["completion"] else 400)
        assert not any(ids["request"] == one.get("request_id") or one["id"] == ids["file"] for one in stranger.done("GET", path)["data"])
    assert tenant.done("GET", f"/v1/chat/completions/{ids['request']}")["metadata"] == {"tenant": "me"}
    assert tenant.done("GET", f"/v1/feedback/{ids['feedback']}")["score"] == 1
    assert tenant.ask("GET", f"/v1/files/{ids['file']}/content").content == ROW


def test_nobody_says_himself_who_asks(desk: Any, tenant: Tenant, stranger: Tenant, ours: Any) -> None:
    ids = tenant.fill()
    forged = dict(write_caller(Principal("key_x", "x", ours.id, ours.project_id)))
    headers = {name.decode(): value.decode() for name, value in forged.items()}
    for more in (
        headers,
        {name.upper(): value for name, value in headers.items()},
        {name.replace("-", "_"): value for name, value in headers.items()},
    ):
        assert stranger.ask("GET", f"/v1/files/{ids['file']}", headers=more).status_code == 404
        assert ids["file"] not in stranger.ask("GET", "/v1/files", headers=more).text
        assert stranger.ask("GET", f"/v1/files/{ids['file']}", headers=more | {"authorization": ""}).status_code == 401
    # nor in the admin API, nor by way of it
    assert stranger.ask("GET", "/admin/v1/organisations", headers=headers).status_code == 403
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        caller.send(request(caller.key, b"", "/admin/../v1/files", headers, "GET"))
        assert caller.answer().status == 404


@pytest.mark.parametrize("path", PREFIXES)
def test_keys_that_open_nothing(desk: Any, ours: Any, path: str) -> None:
    client = desk.operator.client
    revoked = ours.owner.done("POST", f"/organisations/{ours.id}/keys", {"name": f"gone {path}"})
    ours.owner.done("DELETE", f"/organisations/{ours.id}/keys/{revoked['key']['id']}")
    expired = make_key(ours, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1.5)))
    elsewhere = make_key(ours, ips=["203.0.113.0/24"])
    scoped = make_key(ours, scopes={"endpoints": ["chat", "completions"]})
    for key, status in (("sk-shoal-" + "x" * 43, 401), (elsewhere, 403), (scoped, 403), (ours.owner.key, 403)):
        answer = Tenant(client, key).ask("GET", path)
        assert (answer.status_code, set(answer.json()["error"])) == (status, {"message", "type", "param", "code"}), answer.text
    for key in (revoked["secret"], expired):
        deadline = time.monotonic() + 10
        while (status := Tenant(client, key).ask("GET", path).status_code) != 401:  # within a second, in every worker
            assert status == 200 and time.monotonic() < deadline
    assert client.get(path).status_code == 401


def test_a_key_s_scopes_are_about_these_too(desk: Any, ours: Any) -> None:
    files = Tenant(desk.operator.client, make_key(ours, scopes={"endpoints": ["files"]}))
    assert files.ask("GET", "/v1/files").status_code == 200
    for path in ("/v1/feedback", "/v1/chat/completions", "/v1/chat/completions/x", "/v1/fine_tuning/jobs"):
        assert files.ask("GET", path).status_code == 403
    stored = Tenant(desk.operator.client, make_key(ours, scopes={"endpoints": ["stored_completions"]}))
    assert stored.ask("GET", "/v1/chat/completions").status_code == 200
    assert stored.ask("POST", "/v1/chat/completions", chat("up/x")).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/files/../feedback", "/v1/files//", "/v1/files/%2e%2e/feedback", "/v1/files/a%2fb", "/v1/files/a%00b", "/v1/files/%c3%a9"),
        *("/v1/files/x/y/z", "/v1/feedback/x/y", "/v1/chat/completions/x/other", "/v1/fine_tuning", "/v1/filesystem", "/v1/files/;a=b"),
    ],
)
def test_bent_paths_lead_nowhere(desk: Any, ours: Any, path: str) -> None:
    with Caller(desk.shoal.port, ours.inference) as caller:
        caller.send(request(caller.key, b"", path, method="GET"))
        answer = caller.answer()
    assert answer.status == 404, answer.body
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("metadata[a]=b", 200),
        ("metadata[a' OR '1'%3D'1]=b", 200),
        ("metadata[a]=' OR '1'='1", 200),
        ("metadata[a]=%25&metadata[_]=%25", 200),
        ('metadata[a"]=%22}', 200),
        ("metadata[a]=b&metadata[a]=c", 400),
        ("metadata[a]=%00", 400),
        ("metadata[]=b", 400),
        ("metadata=b", 400),
        ("metadata[a][b]=c", 400),
        ("metadata[" + "a" * 65 + "]=b", 400),
        ("&".join(f"metadata[k{number}]=v" for number in range(17)), 400),
        ("project_id=proj_default", 400),
        ("limit=0", 400),
        ("limit=101", 400),
        ("limit=x", 400),
        ("order=random", 400),
        ("after=nothing", 400),
        ("model=" + "x" * 513, 400),
    ],
)
def test_filters_say_what_they_say(tenant: Tenant, query: str, status: int) -> None:
    tenant.fill()
    answer = tenant.ask("GET", f"/v1/chat/completions?{query}")
    assert answer.status_code == status, answer.text
    assert status != 200 or answer.json()["data"] == []


def test_long_metadata_is_refused(tenant: Tenant) -> None:
    ids = tenant.fill()
    for metadata in ({"a": "x" * 1_000_000}, {"x" * 1_000_000: "a"}, {str(number): "" for number in range(100_000)}, [], "x", {"a": None}):
        answer = tenant.ask("POST", f"/v1/chat/completions/{ids['request']}", {"metadata": metadata})
        assert answer.status_code == 400 and answer.json()["error"]["param"].startswith("metadata"), answer.text[:500]
    for body in ({}, {"metadata": {}, "messages": []}, []):
        assert tenant.ask("POST", f"/v1/chat/completions/{ids['request']}", body).status_code == 400
    assert tenant.done("GET", f"/v1/chat/completions/{ids['request']}")["metadata"] == {"tenant": "me"}


def test_a_project_may_keep_all_and_its_keys_speak_for_themselves(desk: Any, ours: Any) -> None:
    path = f"/organisations/{ours.id}"
    project = ours.owner.done("POST", f"{path}/projects", {"name": f"keeps {time.monotonic_ns()}", "keep_bodies": True})
    first, second = (Tenant(desk.operator.client, make_key(ours, project_id=project["id"])) for _ in range(2))
    deadline = time.monotonic() + 10
    while not (kept := first.done("GET", "/v1/chat/completions")["data"]):  # the project is known within a second
        assert first.ask("POST", "/v1/chat/completions", chat("up/x")).status_code == 200
        assert time.monotonic() < deadline
    request_id = kept[0]["request_id"]
    words = [one.done("POST", "/v1/feedback", {"request_id": request_id, "score": score}) for one, score in ((first, 1), (second, -1))]
    assert len({one["id"] for one in words}) == 2
    assert [one["score"] for one in second.done("GET", "/v1/feedback")["data"]] == [1, -1]
    assert first.ask("DELETE", f"/v1/feedback/{words[1]['id']}").status_code == 200  # a project's things are all its keys'


def test_admins_may_read_what_is_kept_and_it_is_written_down(desk: Any, tenant: Tenant, ours: Any, rival: Any) -> None:
    request_id = tenant.fill()["request"]
    path = f"/organisations/{ours.id}/requests/{request_id}/body"
    deadline = time.monotonic() + 10
    while ours.admin.ask("GET", path).status_code == 404 and time.monotonic() < deadline:
        pass  # the log follows within a second
    body = ours.admin.done("GET", path)
    assert (body["request"]["user"], body["response"]["object"]) == ("ada", "chat.completion")
    for who, status in ((ours.developer, 403), (ours.viewer, 403), (rival.owner, 404)):
        who.refused(status, "GET", path)
    rival.owner.refused(404, "GET", f"/organisations/{rival.id}/requests/{request_id}/body")
    ours.admin.refused(404, "GET", f"/organisations/{ours.id}/requests/req_{'0' * 32}/body")
    acts = [act for act in ours.owner.done("GET", f"/organisations/{ours.id}/audit")["data"] if act["action"] == "request.read"]
    assert {(act["target"], act["actor"]) for act in acts} == {(request_id, acts[0]["actor"])}


def test_of_some_keys_nothing_is_kept(desk: Any, ours: Any) -> None:
    silent = Tenant(desk.operator.client, make_key(ours, retention="none"))
    for more in ({}, {"headers": {"x-shoal-retention": "none"}}):
        said = silent.ask("POST", "/v1/chat/completions", chat("up/x", store=True, user="ada", metadata={"a": "b"}), **more)
        assert said.status_code == 200
        assert silent.ask("GET", f"/v1/chat/completions/{said.headers['x-request-id']}").status_code == 404
        receipt = silent.done("GET", f"/v1/receipts/{said.headers['x-request-id']}")
        assert receipt["retention"] == "none"
    bad = ours.owner.refused(400, "POST", f"/organisations/{ours.id}/keys", {"name": "x", "retention": "some"})
    assert bad["param"] == "retention"


def test_scopes_name_what_there_is(ours: Any) -> None:
    path = f"/organisations/{ours.id}/keys"
    for names in (["chats"], ["chat", "fil"], ["x*"]):
        refused = ours.owner.refused(400, "POST", path, {"name": "x", "scopes": {"endpoints": names}})
        assert refused["param"] == "scopes.endpoints" and "stored_completions" in refused["message"]
    assert make_key(ours, scopes={"endpoints": ["chat", "fil*", "*"]})


def test_the_entrance_lets_in_whom_a_worker_names() -> None:
    who = Principal("key_a", "a", "org_a", "proj_a")
    scope: dict[str, Any] = {"raw_path": b"/v1/files", "headers": write_caller(who), "method": "GET"}
    enter(scope)
    assert scope[SCOPE] == callers.Caller("key_a", "org_a", "proj_a")


@pytest.mark.parametrize(
    "bend",
    [
        lambda fields: [],
        lambda fields: fields[1:],
        lambda fields: [*fields, fields[0]],
        lambda fields: [(name, b"") for name, _ in fields],
        lambda fields: [(name.upper(), value) for name, value in fields],
    ],
)
def test_the_entrance_lets_in_nobody_else(bend: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> None:
    fields = bend(write_caller(Principal("key_a", "a", "org_a", "proj_a")))
    assert read_caller(fields) is None
    with pytest.raises(Fault, match="Nobody was named"):
        enter({"raw_path": b"/v1/files", "headers": fields, "method": "GET"})


def test_bodies_are_read_strictly(tenant: Tenant) -> None:
    for content, kind in (
        (b"{", "application/json"),
        (b"", "application/json"),
        (b'{"score": NaN}', "application/json"),
        (b"{}", "text/plain"),
    ):
        answer = tenant.ask("POST", "/v1/feedback", content=content, headers={"content-type": kind})
        assert answer.status_code in (400, 415), answer.text
    answer = tenant.ask("POST", "/v1/feedback", json.loads('{"request_id": "a\\u0000b", "score": 1}'))
    assert answer.status_code == 400
