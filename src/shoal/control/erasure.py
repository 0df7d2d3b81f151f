"""One user's data, deleted at the user's wish: what was asked and answered, and for whom it was."""

from typing import Annotated

import msgspec
from litestar import post
from litestar.params import JSONBody
from msgspec import Meta

from shoal.control.given import GivenActor, GivenOptions, GivenStore
from shoal.control.parameters import Id


class Wish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose data is to be deleted: the `user`, or `safety_identifier`, that callers sent."""

    user: Annotated[str, Meta(min_length=1, max_length=512)]


class ForgottenView(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests forgot for whom they were, and how many bodies, kept answers, words of feedback and files were deleted. Costs stay:
    they are the books."""

    requests: int
    bodies: int
    responses: int
    feedback: int
    files: int


@post("/organisations/{org_id:str}/user-deletions", status_code=200)
async def forget_user(org_id: Id, data: JSONBody[Wish], actor: GivenActor, store: GivenStore, options: GivenOptions) -> ForgottenView:
    """Delete one user's data."""
    actor.require("owner", org_id)
    await store.organisations.find(org_id)
    await options.flush()
    gone = await store.retention.forget(org_id, data.user, actor=actor.name)
    return ForgottenView(**msgspec.structs.asdict(gone))


HANDLERS = [forget_user]
