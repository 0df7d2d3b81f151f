"""Codes that are worth money, once, to whoever redeems one: made by the operator, shown this once."""

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from shoal.control.amounts import Moment, Usd, moment_ms, moment_text, nano_of, require_usd
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import AGE, Cursor, Limit, Page, paged, read_cursor
from shoal.control.wallets import Currency
from shoal.core.money import usd_text
from shoal.storage.codes import Code
from shoal.storage.pages import Mark


class NewCode(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A code that is to be made."""

    amount_usd: Usd
    expires_at: Moment | None = None
    currency: Currency = "usd"


class CodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A code that was made. It is not shown; `number` is its name."""

    number: str
    amount_usd: str
    made_at: str | None
    made_by: str
    expires_at: str | None
    redeemed_at: str | None
    organisation_id: str | None


class CodeSecretView(msgspec.Struct, frozen=True):
    """A code, which is not shown again."""

    code: str
    amount_usd: str
    expires_at: str | None


@post("/codes")
async def create_code(data: JSONBody[NewCode], actor: GivenActor, store: GivenStore) -> CodeSecretView:
    """Make a code; it is in the answer, this once (the operator)."""
    actor.require_operator()
    require_usd(data.currency)
    nano = nano_of(data.amount_usd, "amount_usd", least=1)
    ends = None if data.expires_at is None else moment_ms(data.expires_at, "expires_at")
    code = await store.codes.create(nano, expires_at_ms=ends, actor=actor.name)
    return CodeSecretView(code, usd_text(nano), moment_text(ends))


@get("/codes")
async def list_codes(actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[CodeView]:
    """List codes, newest first, by their numbers (the operator)."""
    actor.require_operator()
    return paged(await store.codes.list_all(after=read_cursor(cursor, AGE), limit=limit + 1), limit, show, _mark)


HANDLERS = [create_code, list_codes]


def show(code: Code) -> CodeView:
    """A code as it is shown."""
    return CodeView(
        number=code.number,
        amount_usd=usd_text(code.amount_nano),
        made_at=moment_text(code.made_at_ms),
        made_by=code.made_by,
        expires_at=moment_text(code.expires_at_ms),
        redeemed_at=moment_text(code.redeemed_at_ms),
        organisation_id=code.org_id,
    )


def _mark(code: Code) -> Mark:
    return (code.made_at_ms, code.number)
