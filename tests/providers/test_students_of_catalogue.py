"""Students in the catalogue: for another organisation they do not exist, whatever is asked, and whichever way."""

from typing import Any

import msgspec
import pytest

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.core.money import Price
from shoal.providers import minnow, registry
from shoal.providers.catalogue import Catalogue
from shoal.providers.discovery import Discovery
from shoal.providers.minnow import Minnow
from shoal.providers.offers import Offers
from shoal.providers.options import DeploymentSettings, ModelSettings, ProviderSettings

ACME, OTHER = "org_aaaaaaaaaaaaaaaa", "org_bbbbbbbbbbbbbbbb"
SUPPORT, TITLES, LOST = "ft:minnow:acme-aaaaaa:support", "ft:minnow:other-bbbbbb:titles", "ft:minnow:acme-aaaaaa:lost"
MODELS = {
    "support": ModelSettings([DeploymentSettings("minnow", SUPPORT)]),
    "mixed": ModelSettings(
        [DeploymentSettings("minnow", SUPPORT), DeploymentSettings("minnow", "minnow"), DeploymentSettings("minnow", LOST)]
    ),
    "lost": ModelSettings([DeploymentSettings("minnow", LOST)]),
}


class Child:
    """The local process, as far as health goes."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [
            {"id": "minnow", "decode_tokens_per_s": 100.0, "prefill_tokens_per_s": 1000.0},
            {"id": "minnow-embed", "kind": "embedding", "prefill_tokens_per_s": 5000.0, "decode_tokens_per_s": 5000.0},
        ]
        self.asked = 0
        self.status = "ok"

    def add(self, name: str, org_id: str, kind: str = "chat", version: int = 1) -> None:
        speeds = {"decode_tokens_per_s": 200.0, "prefill_tokens_per_s": 2000.0}
        self.models += [{"id": one, "org_id": org_id, "kind": kind, "created": 7, **speeds} for one in (f"{name}:{version}", name)]

    async def get(self, path: str, timeout_s: float, at_root: bool) -> tuple[int, bytes]:
        self.asked += 1
        body = {"status": self.status, "models": self.models, "decode_tokens_per_s": 100.0, "prefill_tokens_per_s": 1000.0}
        return 200, msgspec.json.encode(body)


@pytest.fixture
def child() -> Child:
    child = Child()
    child.add(SUPPORT, ACME)
    child.add(TITLES, OTHER, "head")
    return child


async def make(child: Child, providers: dict[str, ProviderSettings] | None = None) -> tuple[Catalogue, Minnow]:
    known = Minnow(child, 0.36)  # type: ignore[arg-type]
    await known.refresh()
    offers = Offers(registry.load(providers or {}, {}), {}, Discovery({}), lambda: 0.0)
    return Catalogue(MODELS, {}, offers, known, ("minnow", "minnow-embed"), 99), known


def refusal(catalogue: Catalogue, name: str, org_id: str) -> str:
    with pytest.raises(Fault) as refused:
        catalogue.resolve(name, org_id)
    assert (refused.value.kind, refused.value.status) == ("model_not_found", 404)
    return refused.value.message


def beginning(said: str, name: str) -> str:
    """What is said of a name before others are suggested."""
    return said.replace(name, "*").split(" Did you mean")[0].split(" GET ")[0]


async def test_an_organisation_finds_its_own_and_the_operator_all(child: Child) -> None:
    catalogue, _ = await make(child)
    for org_id in (ACME, OPERATOR):
        for name in (SUPPORT, f"{SUPPORT}:1", f"minnow/{SUPPORT}", "support"):
            (found,) = catalogue.resolve(name, org_id)
            assert found.upstream_model == (f"{SUPPORT}:1" if name.endswith(":1") else SUPPORT) and found.org_id == ACME
        assert catalogue.lists(SUPPORT, org_id) and catalogue.card(SUPPORT, org_id).created == 7
    assert {card.id for card in catalogue.cards(OPERATOR)} >= {SUPPORT, TITLES, f"{TITLES}:1", "support", "minnow"}


async def test_for_another_it_does_not_exist(child: Child) -> None:
    catalogue, _ = await make(child, {"minnow": ProviderSettings(base_url="http://127.0.0.1:1/v1")})
    for org_id in (OTHER, ""):
        for name in (SUPPORT, f"{SUPPORT}:1", f"minnow/{SUPPORT}", f"minnow/{SUPPORT}:1", "support"):
            assert not catalogue.lists(name, org_id)
            with pytest.raises(Fault) as refused:
                catalogue.card(name, org_id)
            assert refused.value.kind == "model_not_found"
            said = refusal(catalogue, name, org_id)
            nobodys = "nobodys" if name == "support" else name.replace("support", "nobodys")
            assert beginning(said, name) == beginning(refusal(catalogue, nobodys, org_id), nobodys)
            assert "acme" not in said.replace(name, "")
        shown = {card.id for card in catalogue.cards(org_id)}
        assert not shown & {SUPPORT, f"{SUPPORT}:1", "support"} and {"minnow", "mixed"} <= shown
        assert "acme" not in refusal(catalogue, "ft:minnow:acme-aaaaaa:suport", org_id).partition("Did you mean")[2]
    assert SUPPORT in refusal(catalogue, "ft:minnow:acme-aaaaaa:suport", ACME)


async def test_a_configured_name_leads_each_to_what_it_may_use(child: Child) -> None:
    catalogue, _ = await make(child)
    assert [one.upstream_model for one in catalogue.resolve("mixed", ACME)] == [SUPPORT, "minnow"]
    assert [one.upstream_model for one in catalogue.resolve("mixed", OTHER)] == ["minnow"]
    assert refusal(catalogue, "lost", ACME)
    child.add(LOST, ACME)
    await catalogue.look(["lost"])
    assert refusal(catalogue, "lost", ACME)
    await catalogue.look([LOST])
    assert catalogue.resolve("lost", ACME)[0].org_id == ACME


async def test_what_students_cost_and_can(child: Child) -> None:
    catalogue, _ = await make(child)
    (chat,), (head,), (plain,) = catalogue.resolve(SUPPORT, ACME), catalogue.resolve(TITLES, OTHER), catalogue.resolve("minnow", OTHER)
    assert chat.price == Price(50_000, 500_000, 50_000, 50_000) and plain.price == Price(100_000, 1_000_000, 100_000, 100_000)
    assert chat.capabilities.prefill and not head.capabilities.prefill
    assert (head.capabilities.tools, head.endpoints) == (False, ()) and chat.endpoints is None


async def test_one_that_comes_is_found_and_one_that_goes_is_not(child: Child) -> None:
    catalogue, known = await make(child)
    name = "ft:minnow:acme-aaaaaa:new"
    assert refusal(catalogue, name, ACME)
    child.add(name, ACME)
    await catalogue.look(["minnow", f"minnow/{name}:1"])
    assert catalogue.resolve(name, ACME)
    asked = child.asked
    await catalogue.look(["minnow", name, "gpt-4o", "ft:gpt-4o:acme::Ab3"])
    assert child.asked == asked  # what is known, and what is none, is not asked for
    before = known.deployments
    await known.refresh()
    assert known.deployments is before
    child.models = child.models[:2]
    await known.refresh()
    assert refusal(catalogue, name, ACME)


async def test_many_who_look_at_once_ask_once_or_twice(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(minnow, "_LOOK_S", 0.0)
    catalogue, _ = await make(child)
    asked = child.asked
    await asyncio.gather(*(catalogue.look([f"ft:minnow:acme:x{i}"]) for i in range(100)))
    assert 1 <= child.asked - asked <= 2


async def test_while_the_process_starts_nobody_learns_who_has_what(child: Child) -> None:
    child.status = "loading"
    catalogue, _ = await make(child)
    for name in (SUPPORT, "ft:minnow:nobody:x"):
        with pytest.raises(Fault) as early:
            catalogue.resolve(name, OTHER)
        assert early.value.kind == "not_ready"


async def test_a_student_of_nobody_is_the_operators(child: Child) -> None:
    child.add("ft:minnow:copied:x", "")
    catalogue, _ = await make(child)
    assert refusal(catalogue, "ft:minnow:copied:x", ACME)
    assert catalogue.resolve("ft:minnow:copied:x", OPERATOR)
