"""Codes that can be redeemed for credit, once, by whoever has one: kept as hashes, like keys."""

import hashlib
import secrets

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.core.terms import MOST_NANO
from shoal.storage.audit import record
from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.ledger import Movement, lock_wallet, move, no_wallet, wallet
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import codes

_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_GROUPS, _GROUP_CHARS = 5, 5  # 124 bits


class Code(msgspec.Struct, frozen=True):
    """A code as it may be shown: by its number, never by itself."""

    number: str
    amount_nano: int
    made_at_ms: int
    expires_at_ms: int | None
    redeemed_at_ms: int | None
    org_id: str | None
    made_by: str


class Codes:
    """The codes of an installation. Every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, amount_nano: int, *, expires_at_ms: int | None = None, actor: str) -> str:
        """Make a code and return it, the only time it is known. Errors: Fault."""
        if not 0 < amount_nano <= MOST_NANO:
            raise Fault("invalid_value", "A code must be worth something, and not more than there is.", param="amount")
        code = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_CHARS)) for _ in range(_GROUPS))
        row = {"hash": _hash(code), "amount_nano": amount_nano, "made_at_ms": now_ms(), "expires_at_ms": expires_at_ms, "made_by": actor}
        async with writing(self._engine).begin() as connection:
            await connection.execute(insert(codes).values(**row))
            await record(connection, actor, "code.create", None, _number(_hash(code)), {"amount_nano": amount_nano})
        return code

    async def redeem(self, org_id: str, code: str, *, actor: str) -> int:
        """Put what a code is worth into a wallet; the nano-USD. Errors: Fault not_found for a code that is none, is used, or expired."""
        digest = _hash(code)
        async with writing(self._engine).begin() as connection:
            if await lock_wallet(connection, wallet(org_id)) is None:
                raise no_wallet(org_id)
            row = (await connection.execute(select(codes).where(codes.c.hash == digest).with_for_update())).first()
            now = now_ms()
            if row is None or row.redeemed_at_ms is not None or (row.expires_at_ms is not None and row.expires_at_ms <= now):
                raise Fault("not_found", "This is not a code that can be redeemed: it is wrong, expired, or was redeemed.", param="code")
            await connection.execute(update(codes).where(codes.c.hash == digest).values(redeemed_at_ms=now, org_id=org_id))
            amounts = {wallet(org_id): row.amount_nano, "funding/code": -row.amount_nano}
            number = _number(digest)
            await move(connection, Movement(kind="topup", reference=f"code:{number}", org_id=org_id, amounts=amounts, actor=actor))
            await record(connection, actor, "code.redeem", org_id, number, {"amount_nano": row.amount_nano})
        return int(row.amount_nano)

    async def list_all(self, *, after: Mark | None = None, limit: int | None = None) -> list[Code]:
        """Every code, newest first; a page of them by (made_at_ms, number)."""
        mark = None if after is None else (after[0], _least_hash(str(after[1])))
        query = cut(select(codes), (codes.c.made_at_ms, codes.c.hash), mark, limit, newest_first=True)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [Code(_number(row.hash), *row[1:]) for row in rows]


def _hash(code: str) -> bytes:
    """Of what matters of it: neither case nor dashes and spaces do."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(letters.encode("utf-8", "surrogatepass")).digest()


def _least_hash(number: str) -> bytes:
    """The least hash with this number: those of one millisecond are in the order of their numbers."""
    try:
        return bytes.fromhex(number)
    except ValueError:
        raise Fault("invalid_value", "The cursor is none of a list of codes.", param="cursor") from None


def _number(digest: bytes) -> str:
    return digest.hex()[:32]
