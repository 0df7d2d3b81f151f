"""An organisation with a project, money and keys, for tests of what those may do; and processes that borrow and charge."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shoal.core.ledger import Entry
from shoal.core.terms import Terms
from shoal.storage.journal import Journal
from shoal.storage.organisations import Organisation, OrganisationEdit
from shoal.storage.store import Store

_numbers = itertools.count(1)


class Firm:
    """One organisation, its first project, and keys by name."""

    def __init__(self, store: Store, organisation: Organisation, project_id: str) -> None:
        self.store, self.organisation, self.project_id = store, organisation, project_id
        self.id = organisation.id

    async def key(self, name: str = "app", **terms: object) -> str:
        """The id of a new key with these terms."""
        key, _ = await self.store.keys.make(self.id, self.project_id, name, terms=Terms(**terms))  # type: ignore[arg-type]
        return key.id

    async def balance(self) -> int:
        """What is in the wallet."""
        return (await self.store.ledger.balance(self.id)).balance_nano

    async def held(self) -> int:
        """How much of it is lent."""
        return (await self.store.ledger.balance(self.id)).held_nano

    def entry(self, key_id: str, charged_nano: int | None, lease: str = "", **fields: object) -> Entry:
        """A request of a key."""
        number = next(_numbers)
        values: dict[str, object] = {"at_ms": 1_700_000_000_000 + number, "request_id": f"req_{number:09d}", "cost_nano": charged_nano}
        values |= {"requested_model": "gpt", "model": "openai/gpt", "provider": "openai", "deployment": "openai/gpt", "endpoint": "chat"}
        values |= {"status": 200, "stream": False, "receipt": msgspec.Raw(b"{}")}
        values |= {"org_id": self.id, "project_id": self.project_id, "key_id": key_id, "charged_nano": charged_nano, "lease": lease}
        return Entry(**values | fields)  # type: ignore[arg-type]


async def found(store: Store, money_nano: int = 0, name: str = "firm", **edit: object) -> Firm:
    """A prepaid organisation with so much in its wallet."""
    organisation = await store.organisations.create(OrganisationEdit(name=name, **edit), actor="test")  # type: ignore[arg-type]
    if money_nano:
        await store.ledger.top_up(organisation.id, money_nano, "admin", f"first {name}", actor="test")
    return Firm(store, organisation, (await store.projects.list_of(organisation.id))[0].id)


async def fold(store: Store, home: Path, entries: Sequence[Entry]) -> None:
    """Write these entries as a process of this home does that ends then, and fold them."""
    journal = Journal(home / "journal", "w0")
    for entry in entries:
        journal.append(entry)
    journal.close()
    await store.recover(home / "journal")
