"""Requests and tokens a minute, and parallel requests: a bucket for each key and unit, of which processes draw blocks.

What is in a bucket and what was drawn and not yet used is together never more than the burst, so all processes together never exceed it.
Levels are kept in 60,000ths of a unit: in one millisecond a bucket gains as many as its limit has units a minute, and nothing is rounded.
The clock is the database's, where that serves many machines.
"""

from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.lending import Draw
from shoal.core.terms import Terms, burst_requests, burst_tokens
from shoal.storage.database import is_postgres
from shoal.storage.identifiers import now_ms
from shoal.storage.schema import api_keys, bucket_leases, buckets

PARTS = 60_000
_PARALLEL_AGAIN_S = 0.1
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
_NEW = text(
    "INSERT INTO buckets (key_id, unit, level_parts, lent_parts, at_ms) VALUES (:key_id, :unit, :full, 0, :now) ON CONFLICT DO NOTHING"
)
_terms = msgspec.json.Decoder(Terms)


class Report(NamedTuple):
    """What a holder asks for and reports, in units; `known_parts` is what it believes to have in hand."""

    need: int
    want: int
    spent: int
    unspent: int
    known_parts: int


class _Limit(NamedTuple):
    a_minute: int  # 0: nothing comes back but what is given back
    burst: int


def _limit(terms: Terms, unit: str) -> _Limit | None:
    if unit == "requests":
        return None if terms.rpm is None else _Limit(terms.rpm, burst_requests(terms))
    if unit == "tokens":
        return None if terms.tpm is None else _Limit(terms.tpm, burst_tokens(terms))
    return None if terms.parallel is None else _Limit(0, terms.parallel)


async def draw(connection: AsyncConnection, holder: str, key_id: str, unit: str, report: Report) -> tuple[Draw, int]:
    """What is drawn, and what the holder has in hand then, in parts."""
    stored = (await connection.execute(select(api_keys.c.terms).where(api_keys.c.id == key_id))).scalar()
    limit = None if stored is None else _limit(_terms.decode(stored), unit)
    if limit is None:
        return Draw(max(report.need, report.want)), 0
    full = limit.burst * PARTS
    level, lent, at_ms, now = await _hold(connection, key_id, unit, full)
    own = await _own(connection, holder, key_id, unit)
    in_hand = report.known_parts
    lent += in_hand - own  # where an answer of ours did not arrive, its holder knows what it has
    level += max(0, own - in_hand)
    level += limit.a_minute * max(0, now - at_ms)
    used, back = report.spent * PARTS, report.unspent * PARTS
    gone = min(used, in_hand)
    returned = min(back, in_hand - gone)
    in_hand -= gone + returned
    lent = max(in_hand, lent - gone - returned)
    level = min(full - lent, level - (used - gone) + back) if limit.a_minute else full - lent
    need, want = report.need * PARTS, max(report.need, report.want) * PARTS
    granted = 0 if level < max(need, PARTS) else min(want, level // PARTS * PARTS)
    wait_s = 0.0
    if granted < need:
        granted = 0
        wait_s = (need - level) / limit.a_minute / 1000 if limit.a_minute else _PARALLEL_AGAIN_S
    level, lent, in_hand = level - granted, lent + granted, in_hand + granted
    at = (buckets.c.key_id == key_id) & (buckets.c.unit == unit)
    await connection.execute(update(buckets).where(at).values(level_parts=level, lent_parts=lent, at_ms=now))
    await _write_own(connection, holder, key_id, unit, in_hand)
    return Draw(granted // PARTS, wait_s, max(0, level // PARTS)), in_hand


async def _hold(connection: AsyncConnection, key_id: str, unit: str, full: int) -> tuple[int, int, int, int]:
    """A bucket's level, what is lent of it, when that was, and the time; nobody changes it until the end. A new one is full."""
    query = select(buckets.c.level_parts, buckets.c.lent_parts, buckets.c.at_ms)
    query = query.where(buckets.c.key_id == key_id, buckets.c.unit == unit).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        await connection.execute(_NEW, {"key_id": key_id, "unit": unit, "full": full, "now": await _clock_ms(connection)})
        row = (await connection.execute(query)).one()
    return (*row, await _clock_ms(connection))


async def _clock_ms(connection: AsyncConnection) -> int:
    return int((await connection.execute(_CLOCK)).scalar_one()) if is_postgres(connection) else now_ms()


async def _own(connection: AsyncConnection, holder: str, key_id: str, unit: str) -> int:
    return (await connection.execute(select(bucket_leases.c.lent_parts).where(*_is(holder, key_id, unit)))).scalar() or 0


async def _write_own(connection: AsyncConnection, holder: str, key_id: str, unit: str, in_hand: int) -> None:
    done = await connection.execute(update(bucket_leases).where(*_is(holder, key_id, unit)).values(lent_parts=in_hand, recalled=False))
    if not done.rowcount and in_hand:
        row = {"holder": holder, "key_id": key_id, "unit": unit, "lent_parts": in_hand, "recalled": False}
        await connection.execute(insert(bucket_leases).values(**row))


async def recall(connection: AsyncConnection, holder: str, key_id: str, unit: str) -> bool:
    """Ask other holders for what they have of a bucket. False: they have none."""
    where = (bucket_leases.c.key_id == key_id) & (bucket_leases.c.unit == unit) & (bucket_leases.c.holder != holder)
    query = select(bucket_leases.c.holder).where(where, bucket_leases.c.lent_parts > 0).order_by(bucket_leases.c.holder)
    others = (await connection.execute(query.with_for_update())).scalars().all()
    if others:
        await connection.execute(update(bucket_leases).where(where, bucket_leases.c.holder.in_(others)).values(recalled=True))
    return bool(others)


def _is(holder: str, key_id: str, unit: str) -> tuple[ColumnElement[bool], ...]:
    return (bucket_leases.c.holder == holder, bucket_leases.c.key_id == key_id, bucket_leases.c.unit == unit)
