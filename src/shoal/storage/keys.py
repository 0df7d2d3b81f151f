"""API keys: made once, shown once, kept as SHA-256, never deleted, so that the ledger's rows keep their owner.

Every change takes the next number of one `revision`; who remembers the greatest it saw asks for what changed since and misses nothing.
A secret has 256 random bits, so a plain hash is enough: there is nothing to guess and the look-up must be fast.
"""

import hashlib
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, exc, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR, Kind, Markup
from shoal.core.terms import Terms
from shoal.storage import names
from shoal.storage.audit import record
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import DEFAULT_PROJECT, api_keys, members, organisations, projects

SECRET_PREFIX = "sk-shoal-"  # noqa: S105 - what every secret begins with
ID_PREFIX = "key_"
NO_TERMS = Terms()

_terms = msgspec.json.Decoder(Terms)
_COLUMNS = (
    api_keys,
    organisations.c.prepaid,
    organisations.c.markup_ppm,
    organisations.c.markups,
    organisations.c.closed_at_ms,
)
_QUERY = select(*_COLUMNS).join(organisations, organisations.c.id == api_keys.c.org_id)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key as the store knows it. `hint` is the secret's last four characters; times are milliseconds since 1970.

    `replaced_by`: this is an earlier secret of that key, good until it expires. `prepaid` and `markup` are its organisation's.
    """

    id: str
    name: str
    hash: bytes
    hint: str
    created_at_ms: int
    revoked_at_ms: int | None = None
    revision: int
    org_id: str = OPERATOR
    project_id: str = DEFAULT_PROJECT
    member_id: str | None = None
    kind: Kind = "inference"
    terms: Terms = Terms()
    expires_at_ms: int | None = None
    replaced_by: str | None = None
    version: int = 1
    prepaid: bool = False
    markup: Markup = Markup()
    closed: bool = False

    @property
    def active(self) -> bool:
        """Whether the key opens anything, unless it has expired."""
        return self.revoked_at_ms is None and not self.closed

    @property
    def account_id(self) -> str:
        """The key that is charged: an earlier secret spends what the key it belongs to may spend."""
        return self.replaced_by or self.id


def hash_secret(secret: str | bytes) -> bytes:
    """What is stored of a secret: its SHA-256, 32 bytes. Any text is accepted, whatever a caller may have sent."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret).digest()


def check_name(name: str) -> str:
    """The name as it is stored (NFC). Raises Fault(invalid_value) unless it is 1 to 64 printable characters without outer spaces."""
    name = names.check_name(name, "key's name")
    if name.startswith((SECRET_PREFIX, ID_PREFIX)):
        raise _bad_name(f"must not begin with {SECRET_PREFIX} or {ID_PREFIX}, like a secret or an id: names are shown openly")
    return name


class KeyStore:
    """The keys of an installation. Every method is one short transaction; writers of several processes take turns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, name: str) -> str:
        """Make a key of the operator's own, without limits, and return its secret. Raises Fault(invalid_value) for a bad or taken name."""
        return (await self.make(OPERATOR, DEFAULT_PROJECT, name))[1]

    async def make(
        self,
        org_id: str,
        project_id: str,
        name: str,
        *,
        member_id: str | None = None,
        kind: Kind = "inference",
        terms: Terms = NO_TERMS,
        expires_at_ms: int | None = None,
        actor: str = "cli",
    ) -> tuple[Key, str]:
        """Make a key and its secret, the only time that is known. Errors: Fault for a bad or taken name, not_found for the other ids."""
        secret = new_secret()
        row = {
            "id": new_id(ID_PREFIX),
            "name": check_name(name),
            "hash": hash_secret(secret),
            "hint": secret[-4:],
            "created_at_ms": now_ms(),
            "org_id": org_id,
            "project_id": project_id,
            "member_id": member_id,
            "kind": kind,
            "terms": msgspec.json.encode(terms).decode(),
            "expires_at_ms": expires_at_ms,
            "version": 1,
        }
        try:
            async with writing(self._engine).begin() as connection:
                await gate(connection, "keys")
                await _check_place(connection, org_id, project_id, member_id)
                await connection.execute(insert(api_keys).values(**row, revision=await next_revision(connection)))
                (key,) = await read_keys(connection, api_keys.c.id == row["id"])
                detail = {"name": key.name, "kind": kind, "project_id": project_id, "member_id": member_id, "terms": terms}
                await record(connection, actor, "key.create", org_id, key.id, {**detail, "expires_at_ms": expires_at_ms})
        except exc.IntegrityError as error:
            raise name_taken(name) from error
        return key, secret

    async def list_all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first, but for earlier secrets."""
        return await self._read(api_keys.c.replaced_by.is_(None), oldest_first=True)

    async def list_of(
        self, org_id: str, project_id: str | None = None, *, after: Mark | None = None, limit: int | None = None
    ) -> list[Key]:
        """The same of an organisation, or of one project of it; a page of them by (created_at_ms, id)."""
        where = api_keys.c.replaced_by.is_(None) & (api_keys.c.org_id == org_id)
        if project_id is not None:
            where &= api_keys.c.project_id == project_id
        query = cut(_QUERY.where(where), (api_keys.c.created_at_ms, api_keys.c.id), after, limit)
        async with self._engine.connect() as connection:
            return [_key({**row}) for row in (await connection.execute(query)).mappings()]

    async def changed_since(self, revision: int) -> list[Key]:
        """Keys made or revoked after `revision`, in the order of the changes; 0 gives all. The last one's revision is the next question."""
        return await self._read(api_keys.c.revision > revision)

    async def find(self, digest: bytes) -> Key | None:
        """The key whose secret has this SHA-256, active or revoked; None when there is none."""
        return next(iter(await self._read(api_keys.c.hash == digest)), None)

    async def revoke(self, which: str, *, actor: str = "cli") -> Key:
        """Revoke a key by id, by the name of an active key of the operator's own, or by its secret. Revoking twice changes nothing.

        Raises Fault(not_found).
        """
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            key = await _identify(connection, which)
            if key.revoked_at_ms is None:
                await record(connection, actor, "key.revoke", key.org_id, key.id)
            return await revoke_key(connection, key)

    async def _read(self, where: ColumnElement[bool], *, oldest_first: bool = False) -> list[Key]:
        async with self._engine.connect() as connection:
            return await read_keys(connection, where, oldest_first=oldest_first)


async def read_keys(connection: AsyncConnection, where: ColumnElement[bool], *, oldest_first: bool = False) -> list[Key]:
    """Keys with what their organisations say of them, by revision or by age."""
    order = (api_keys.c.created_at_ms, api_keys.c.revision) if oldest_first else (api_keys.c.revision,)
    rows = (await connection.execute(_QUERY.where(where).order_by(*order))).mappings()
    return [_key({**row}) for row in rows]


def _key(row: dict[str, Any]) -> Key:
    values = {**row}
    markup = Markup(values.pop("markup_ppm"), msgspec.json.decode(values.pop("markups"), type=dict[str, int]))
    closed = values.pop("closed_at_ms") is not None
    return Key(**values | {"terms": _terms.decode(row["terms"]), "markup": markup, "closed": closed})


async def revoke_key(connection: AsyncConnection, key: Key) -> Key:
    """Revoke a key and its earlier secrets, in the caller's transaction, which holds the gate."""
    if key.revoked_at_ms is not None:
        return key
    for one in await read_keys(connection, (api_keys.c.id == key.id) | (api_keys.c.replaced_by == key.id)):
        if one.revoked_at_ms is None:
            change = {"revoked_at_ms": max(now_ms(), one.created_at_ms), "version": one.version + 1}
            await change_key(connection, one.id, change)
    (revoked,) = await read_keys(connection, api_keys.c.id == key.id)
    return revoked


async def change_key(connection: AsyncConnection, key_id: str, change: Mapping[str, object]) -> None:
    """Change a row, with a new revision, so that every process sees it."""
    values = {**change, "revision": await next_revision(connection)}
    await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**values))


async def _identify(connection: AsyncConnection, which: str) -> Key:
    if which.startswith(SECRET_PREFIX):
        where = api_keys.c.hash == hash_secret(which)
    elif which.startswith(ID_PREFIX):
        where = api_keys.c.id == which
    else:
        named = (api_keys.c.name == unicodedata.normalize("NFC", which)) & (api_keys.c.org_id == OPERATOR)
        where = named & api_keys.c.revoked_at_ms.is_(None) & api_keys.c.replaced_by.is_(None)
    found = await read_keys(connection, where) if "\0" not in which else []
    if not found:
        shown = "this secret" if which.startswith(SECRET_PREFIX) else f'"{which}"'
        raise Fault("not_found", f"No active key is named {shown}, and no key has it as its id: `shoal keys list` shows them.")
    return found[0]


async def _check_place(connection: AsyncConnection, org_id: str, project_id: str, member_id: str | None) -> None:
    """Raises Fault not_found unless project and member are this organisation's, and there."""
    owned = (projects.c.org_id == org_id) & (projects.c.id == project_id) & projects.c.archived_at_ms.is_(None)
    here = organisations.c.closed_at_ms.is_(None)
    query = select(projects.c.id).join(organisations, organisations.c.id == projects.c.org_id).where(owned, here)
    if (await connection.execute(query)).first() is None:
        raise Fault("not_found", f"There is no project {project_id[:64]!r}.", param="project_id")
    if member_id is not None:
        theirs = (members.c.org_id == org_id) & (members.c.id == member_id) & members.c.removed_at_ms.is_(None)
        if (await connection.execute(select(members.c.id).where(theirs))).first() is None:
            raise Fault("not_found", f"There is no member {member_id[:64]!r}.", param="member_id")


async def next_revision(connection: AsyncConnection) -> int:
    """The number of the next change of a key. The caller's transaction holds the gate of the keys."""
    greatest: int | None = (await connection.execute(select(func.max(api_keys.c.revision)))).scalar()
    return (greatest or 0) + 1


def new_secret() -> str:
    """A secret of 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def name_taken(name: str) -> Fault:
    """An active key goes by this name."""
    return _bad_name(f'"{name}" is taken by an active key; choose another, or revoke that one first')


def _bad_name(what: str) -> Fault:
    return Fault("invalid_value", f"The key's name {what}.", param="name")
