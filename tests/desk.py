"""A server with its desk, and those who ask it: the operator, and members of two organisations."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from conftest import config as plain_config
from installation import Installation
from treasury import make_key
from upstream import Upstream

STRIPE_SECRET = "whsec_test_of_shoal"


class Admin:
    """Asks the admin API with one key."""

    def __init__(self, client: httpx.Client, key: str) -> None:
        self.key = key
        self.client = client

    def ask(self, method: str, path: str, json: Any = None, **more: Any) -> httpx.Response:
        """One request."""
        headers = {"authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return self.client.request(method, f"/admin/v1{path}", json=json, headers=headers, **more)

    def done(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        """A request that must succeed; its answer."""
        answer = self.ask(method, path, json, **more)
        assert answer.status_code in (200, 201), (method, path, answer.text)
        return answer.json()

    def refused(self, status: int, method: str, path: str, json: Any = None, **more: Any) -> dict[str, Any]:
        """A request that must be refused in OpenAI's shape; the error."""
        answer = self.ask(method, path, json, **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return dict(error)

    def walk(self, path: str, **query: Any) -> list[Any]:
        """A whole list, page by page."""
        rows: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.done("GET", path, params=query | cursor)
            rows += page["data"]
            if page["next"] is None:
                return rows
            cursor = {"cursor": page["next"]}


class Firm(NamedTuple):
    """An organisation, with a key for every role, and one for inference."""

    id: str
    project_id: str
    owner: Admin
    admin: Admin
    developer: Admin
    viewer: Admin
    inference: str


class Desk(NamedTuple):
    """A server and the operator's key."""

    shoal: Installation
    operator: Admin

    def admin(self, key: str) -> Admin:
        """Somebody else who asks."""
        return Admin(self.operator.client, key)

    def found(self, name: str, **edit: Any) -> Firm:
        """An organisation with members of all roles."""
        organisation = self.operator.done("POST", "/organisations", {"name": name, **edit})
        path = f"/organisations/{organisation['id']}"
        admins = []
        for role in ("owner", "admin", "developer", "viewer"):
            member = self.operator.done("POST", f"{path}/members", {"email": f"{role}@{name}.example", "role": role})
            body = {"name": f"{role}'s", "kind": "admin", "member_id": member["id"]}
            admins.append(self.admin(self.operator.done("POST", f"{path}/keys", body)["secret"]))
        made = self.operator.done("POST", f"{path}/keys", {"name": "app"})
        return Firm(organisation["id"], made["key"]["project_id"], *admins, made["secret"])


@pytest.fixture(scope="session")
def desk(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server that all of these tests share; what it logs as an error of its own fails the session."""
    more = '[credits]\nstripe_webhook_secret_env = "SHOAL_TEST_STRIPE_SECRET"\n'
    more += '[models.priced]\ndeployments = [{ provider = "up", price = { input = 1.0, output = 2.0 } }]\n'
    shoal = Installation(
        tmp_path_factory.mktemp("desk"), plain_config(upstream, more=more), {"SHOAL_TEST_STRIPE_SECRET": STRIPE_SECRET}
    ).start()
    key = make_key(shoal, "root", kind="admin")
    with httpx.Client(base_url=f"http://127.0.0.1:{shoal.port}", trust_env=False, timeout=30.0) as client:
        yield Desk(shoal, Admin(client, key))
    assert shoal.stop() == 0
    assert "Traceback" not in shoal.log(), shoal.log()


@pytest.fixture(scope="session")
def acme(desk: Desk) -> Firm:
    """An organisation."""
    return desk.found("acme")


@pytest.fixture(scope="session")
def rival(desk: Desk) -> Firm:
    """Another one."""
    return desk.found("rival")
