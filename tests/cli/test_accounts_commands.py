"""Accounts and money on the command line, as an operator types it before the first start."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shoal.cli.main import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SHOAL_CONFIG", raising=False)
    return tmp_path / "home"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> str:
    """What a command that must succeed prints."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    """What a command lists, as a program reads it."""
    (found,) = json.loads(done(*arguments, "--json")).values()
    return found


def test_an_organisation_from_its_making_to_its_end() -> None:
    org_id = done("orgs", "create", "Café", "--markup", "12.5", "--markup-of", "openai/gpt=0.0001", "--low-balance", "5").strip()
    assert org_id.startswith("org_")
    (made,) = [one for one in rows("orgs", "list") if one["id"] == org_id]
    assert (made["prepaid"], made["markup_percent"], made["markups_percent"]) == (True, "12.5", {"openai/gpt": "0.0001"})
    assert (made["low_balance_usd"], made["free_monthly_usd"]) == ("5", "0")
    done("orgs", "update", "Café", "--postpaid", "--name", "Tea", "--free-monthly", "1")
    (changed,) = [one for one in rows("orgs", "list") if one["id"] == org_id]
    assert (changed["name"], changed["prepaid"], changed["free_monthly_usd"], changed["version"]) == ("Tea", False, "1", 2)
    assert "Tea" in done("orgs", "list")
    done("orgs", "close", org_id)
    assert [one["closed_at"] is None for one in rows("orgs", "list")] == [True, False]


def test_projects_and_members_of_an_organisation() -> None:
    done("orgs", "create", "acme")
    project_id = done("projects", "create", "side", "--org", "acme", "--keep-bodies", "--retention-days", "7").strip()
    done("projects", "update", "side", "--org", "acme", "--forget-bodies", "--may-train")
    listed = rows("projects", "list", "--org", "acme")
    assert [(one["name"], one["keep_bodies"], one["retention_days"], one["may_train"]) for one in listed] == [
        ("default", False, None, False),
        ("side", False, 7, True),
    ]
    done("projects", "archive", project_id, "--org", "acme")
    assert rows("projects", "list", "--org", "acme")[1]["archived_at"] is not None
    assert [one["name"] for one in rows("projects", "list")] == ["default"]
    done("members", "add", "Ada@x.example", "--role", "owner", "--org", "acme")
    bob = done("members", "add", "bob@x.example", "--org", "acme", "--name", "Bob").strip()
    done("members", "role", "BOB@x.example", "admin", "--org", "acme")
    assert [(one["email"], one["role"]) for one in rows("members", "list", "--org", "acme")] == [
        ("ada@x.example", "owner"),
        ("bob@x.example", "admin"),
    ]
    done("members", "remove", bob, "--org", "acme")
    assert len(rows("members", "list", "--org", "acme")) == 1


def test_keys_of_organisations_are_made_here_too() -> None:
    org_id = done("orgs", "create", "acme").strip()
    ada = done("members", "add", "ada@x.example", "--role", "owner", "--org", "acme").strip()
    project_id = done("projects", "create", "side", "--org", "acme").strip()
    done("keys", "create", "app", "--org", "acme", "--project", "side")
    done("keys", "create", "ada's", "--org", "acme", "--member", "ada@x.example", "--admin")
    made = rows("audit", "--org", "acme")[:2]
    assert [(act["action"], act["detail"]["name"], act["detail"]["kind"]) for act in made] == [
        ("key.create", "ada's", "admin"),
        ("key.create", "app", "inference"),
    ]
    assert (made[0]["detail"]["member_id"], made[1]["detail"]["project_id"]) == (ada, project_id)
    assert {act["org_id"] for act in made} == {org_id}
    assert "add --member" in invoke("keys", "create", "x", "--org", "acme", "--admin").stderr
    assert "no member" in invoke("keys", "create", "x", "--org", "acme", "--member", "bob@x.example").stderr
    assert "no project" in invoke("keys", "create", "x", "--org", "acme", "--project", "proj_default").stderr


def test_money_comes_in_once_and_the_statement_adds_up() -> None:
    done("orgs", "create", "acme")
    assert "moved" in invoke("credits", "add", "acme", "10", "--reference", "invoice-1", "--memo", "=thanks").stderr
    assert "Nothing moved" in invoke("credits", "add", "acme", "10", "--reference", "invoice-1").stderr
    done("credits", "adjust", "acme", "-0.000000001", "--memo", "oops")
    code = done("credits", "code", "2.5", "--expires", "30d").strip()
    done("credits", "redeem", "acme", code)
    assert invoke("credits", "redeem", "acme", code).exit_code == 1
    (wallet,) = rows("credits", "balance", "acme")
    assert (wallet["balance_usd"], wallet["held_usd"]) == ("12.499999999", "0")
    positions = rows("credits", "statement", "acme")
    assert [one["amount_usd"] for one in positions] == ["10", "-0.000000001", "2.5"]
    table = list(csv.DictReader(io.StringIO(done("credits", "statement", "acme", "--csv"))))
    assert (table[1]["memo"], table[-1]["balance_usd"]) == ("'=thanks", "12.499999999")
    assert rows("credits", "codes")[0]["amount_usd"] == "2.5"
    assert code not in done("credits", "codes")
    assert rows("ledger", "check") == []
    assert rows("ledger", "holders") == []
    assert rows("usage", "--org", "acme", "--by", "day,model") == []


def test_every_act_is_the_command_lines_in_the_audit_log() -> None:
    done("orgs", "create", "acme")
    done("members", "add", "ada@x.example", "--org", "acme")
    done("credits", "add", "acme", "1")
    secret = done("keys", "create", "app").strip()
    done("keys", "revoke", "app")
    done("orgs", "forget-user", "acme", "bob")
    acts = rows("audit")
    assert [act["action"] for act in reversed(acts)] == [
        "organisation.create",
        "member.add",
        "wallet.top_up",
        "key.create",
        "key.revoke",
        "user.forget",
    ]
    assert {act["actor"] for act in acts} == {"cli"}
    assert [act["action"] for act in rows("audit", "--org", "acme", "--limit", "1")] == ["user.forget"]
    assert secret[9:] not in json.dumps(acts)
    assert "bob" not in json.dumps(acts)


def test_a_backup_is_restored_into_an_empty_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("orgs", "create", "acme")
    done("credits", "add", "acme", "3")
    copy = tmp_path / "copy.db"
    done("backup", copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    again = invoke("backup", copy)
    assert (again.exit_code, "there already" in again.stderr) == (1, True)
    assert invoke("restore", copy).exit_code == 1
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path / "other"))
    done("restore", copy)
    assert rows("credits", "balance", "acme")[0]["balance_usd"] == "3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["orgs", "create", ""], "has 0 characters"),
        (["orgs", "create", "operator"], "already"),
        (["orgs", "create", "x", "--markup", "-1"], "no percentage"),
        (["orgs", "create", "x", "--markup-of", "20"], "MODEL=PERCENT"),
        (["orgs", "create", "x", "--free-monthly", "1e99"], "no amount"),
        (["orgs", "update", "nobody"], "no organisation"),
        (["orgs", "close", "operator"], "cannot be closed"),
        (["projects", "archive", "nothing"], "no project"),
        (["projects", "archive", "default"], "cannot be archived"),
        (["members", "remove", "nobody"], "no member"),
        (["members", "add", "not-an-address"], "name@example.org"),
        (["credits", "add", "operator", "-1"], "No such option"),
        (["credits", "add", "operator", "0"], "positive"),
        (["credits", "add", "operator", "5 EUR"], "no amount"),
        (["credits", "adjust", "operator", "-5", "--memo", "x"], "can be taken now"),
        (["credits", "statement", "operator", "--since", "yesterday"], "days"),
        (["usage", "--by", "colour"], "--by"),
        (["ledger", "release", "hold_x"], "no holder"),
        (["restore", "nothing.db"], "cannot be read"),
        (["audit", "--org", "nobody"], "no organisation"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
