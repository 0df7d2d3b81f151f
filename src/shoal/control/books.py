"""The books: the proof that they are right, and the processes that hold money just now. All of it is the operator's."""

import msgspec
from litestar import delete, get

from shoal.control.amounts import moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import Id
from shoal.core.money import usd_text
from shoal.storage.holders import Holder


class ProofView(msgspec.Struct, frozen=True):
    """Whether the books are right, and what is wrong with them, a sentence each."""

    right: bool
    errors: list[str]


class HolderView(msgspec.Struct, frozen=True, kw_only=True):
    """A process that borrows. One that has not said for long that it lives may be released, if its home will not come back."""

    id: str
    home: str
    started_at: str | None
    renewed_at: str | None
    held_usd: str


class HoldersView(msgspec.Struct, frozen=True):
    """Every process that borrows."""

    data: list[HolderView]


class ReleasedView(msgspec.Struct, frozen=True):
    """That a process holds nothing any more."""

    released: bool


@get("/ledger/check")
async def check_ledger(actor: GivenActor, store: GivenStore) -> ProofView:
    """Prove that the books are right; reads all of them."""
    actor.require_operator()
    errors = await store.ledger.check()
    return ProofView(not errors, errors)


@get("/ledger/holders")
async def list_holders(actor: GivenActor, store: GivenStore) -> HoldersView:
    """List the processes that hold money or rates."""
    actor.require_operator()
    return HoldersView([show(one) for one in await store.holders.list_all()])


@delete("/ledger/holders/{holder_id:str}", status_code=200)
async def release_holder(holder_id: Id, actor: GivenActor, store: GivenStore) -> ReleasedView:
    """Take back what a process holds whose home is lost."""
    actor.require_operator()
    await store.holders.release(holder_id)
    await store.audit.record(actor.name, "holder.release", None, holder_id)
    return ReleasedView(released=True)


HANDLERS = [check_ledger, list_holders, release_holder]


def show(holder: Holder) -> HolderView:
    """A holder as it is shown."""
    return HolderView(
        id=holder.id,
        home=holder.home,
        started_at=moment_text(holder.started_at_ms),
        renewed_at=moment_text(holder.renewed_at_ms),
        held_usd=usd_text(holder.held_nano),
    )
