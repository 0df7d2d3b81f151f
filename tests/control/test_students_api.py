"""Students as those see them who look after them: an organisation's own, back by one call, deleted for good, all of it written down."""

from pathlib import Path

import openai
import pytest

from desk import Desk, Firm
from shoal.core.students import folder_of
from shoal.mini.card import Card, write_card
from shoal.mini.shelf import list_students, publish


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student as training leaves it."""
    directory = tmp_path_factory.mktemp("made")
    write_card(directory, Card("x", "head", "head", 256, base="minnow"))
    return directory


def put(desk: Desk, firm: Firm, made: Path, name: str, times: int = 1) -> list[str]:
    """Publish versions beside the server; their names."""
    return [publish(desk.shoal.home, made, firm.id, "acme", name) for _ in range(times)]


def here(desk: Desk) -> set[str]:
    """What is on the shelf."""
    return {one.id for one in list_students(desk.shoal.home)}


def test_each_sees_its_own(desk: Desk, acme: Firm, rival: Firm, made: Path) -> None:
    first, second = put(desk, acme, made, "seen", 2)
    (theirs,) = put(desk, rival, made, "seen")
    shown = {one["model"]: one for one in acme.viewer.walk(f"/organisations/{acme.id}/students", limit=1)}
    assert {first, second} <= set(shown) and theirs not in shown
    assert shown[second] | {"created_at": ""} == {
        "id": folder_of(second),
        "model": second,
        "alias": second.removesuffix(":2"),
        "version": 2,
        "current": True,
        "kind": "head",
        "base": "minnow",
        "context_tokens": 256,
        "organisation_id": acme.id,
        "created_at": "",
    }
    assert not shown[first]["current"]
    assert theirs in [one["model"] for one in desk.operator.walk(f"/organisations/{rival.id}/students")]
    acme.owner.refused(404, "GET", f"/organisations/{rival.id}/students")


def test_back_by_one_call(desk: Desk, acme: Firm, rival: Firm, made: Path) -> None:
    first, second = put(desk, acme, made, "back", 2)
    path = f"/organisations/{acme.id}/students"
    alias = folder_of(first.removesuffix(":1"))
    assert acme.developer.done("POST", f"{path}/{alias}/current")["model"] == first
    assert acme.developer.refused(409, "POST", f"{path}/{alias}/current")["param"] == "student"
    assert acme.developer.done("POST", f"{path}/{folder_of(second)}/current")["current"] is True
    acme.viewer.refused(403, "POST", f"{path}/{alias}/current")
    rival.owner.refused(404, "POST", f"{path}/{alias}/current")
    rival.owner.refused(404, "POST", f"/organisations/{rival.id}/students/{alias}/current")  # not under the own name either
    acts = [(one["action"], one["target"]) for one in acme.admin.walk(f"/organisations/{acme.id}/audit")]
    assert acts[:2] == [("student.current", second), ("student.current", first)]


def test_deleted(desk: Desk, acme: Firm, rival: Firm, made: Path) -> None:
    names = put(desk, acme, made, "gone", 3)
    path = f"/organisations/{acme.id}/students"
    acme.developer.refused(403, "DELETE", f"{path}/{folder_of(names[0])}")
    rival.owner.refused(404, "DELETE", f"/organisations/{rival.id}/students/{folder_of(names[0])}")
    assert acme.admin.done("DELETE", f"{path}/{folder_of(names[0])}") == {"models": names[:1]}
    assert not {names[0]} & here(desk) and set(names[1:]) <= here(desk)
    acme.admin.refused(404, "DELETE", f"{path}/{folder_of(names[0])}")
    assert acme.admin.done("DELETE", f"{path}/{folder_of(names[0].removesuffix(':1'))}") == {"models": names[1:]}


def test_the_sdk_deletes_what_is_its_own(desk: Desk, acme: Firm, rival: Firm, made: Path) -> None:
    name, other = put(desk, acme, made, "by-sdk", 2)
    base = f"http://127.0.0.1:{desk.shoal.port}/v1"
    with openai.OpenAI(base_url=base, api_key=rival.inference, max_retries=0) as stranger, pytest.raises(openai.NotFoundError) as not_found:
        stranger.models.delete(name)
    assert not_found.value.code == "model_not_found" and name in here(desk)
    with openai.OpenAI(base_url=base, api_key=acme.inference, max_retries=0) as client:
        gone = client.models.delete(name)
        assert (gone.id, gone.deleted, gone.object) == (name, True, "model")
        assert name not in here(desk) and other in here(desk)
        for nobodys in (name, "minnow", "gpt-4o"):
            with pytest.raises(openai.NotFoundError):
                client.models.delete(nobodys)
    acts = [one for one in acme.admin.walk(f"/organisations/{acme.id}/audit") if one["action"] == "student.delete"]
    assert acts[0]["target"] == name and acts[0]["actor"].startswith("key_")


def test_a_key_that_is_for_chats_alone_deletes_nothing(desk: Desk, acme: Firm, made: Path) -> None:
    (name,) = put(desk, acme, made, "scoped")
    made_key = acme.admin.done("POST", f"/organisations/{acme.id}/keys", {"name": "chats", "scopes": {"endpoints": ["chat"]}})
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{desk.shoal.port}/v1", api_key=made_key["secret"], max_retries=0)
    with client, pytest.raises(openai.PermissionDeniedError):
        client.models.delete(name)
    assert name in here(desk)
