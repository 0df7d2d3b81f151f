"""What keys were charged, read from the roll-up: the log is never scanned, and open holds are no charges."""

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.lending import Spent
from shoal.storage.ledger import wallet
from shoal.storage.schema import accounts, api_keys, movements, organisations, usage_days
from shoal.storage.windows import first_days


class Spending:
    """What keys have spent."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of(self, key_id: str, now_s: float) -> Spent:
        """All that a key was charged, and its organisation's wallet."""
        first, charged, day = first_days(int(now_s * 1000)), usage_days.c.charged_nano, usage_days.c.day
        windows = ("total", "daily", "weekly", "monthly")
        sums = [cast(func.coalesce(func.sum(charged).filter(day >= first[window]), 0), BigInteger) for window in windows]
        async with self._engine.connect() as connection:
            charges = (await connection.execute(select(*sums).where(usage_days.c.key_id == key_id))).one()
            wallet_nano, paid = await _read_wallet(connection, key_id)
        total, daily, weekly, monthly = map(int, charges)
        return Spent(total, daily, weekly, monthly, wallet_nano, free_tier=wallet_nano is not None and not paid)


async def _read_wallet(connection: AsyncConnection, key_id: str) -> tuple[int | None, bool]:
    """The balance of the wallet that pays for a key, None where there is none; and whether anything was ever paid into it."""
    owned = select(organisations.c.id).join(api_keys, api_keys.c.org_id == organisations.c.id)
    org_id = (await connection.execute(owned.where(api_keys.c.id == key_id, organisations.c.prepaid))).scalar()
    if org_id is None:
        return None, False
    balance = select(accounts.c.balance_nano).where(accounts.c.id == wallet(org_id))
    topped_up = select(movements.c.id).where(movements.c.org_id == org_id, movements.c.kind == "topup").limit(1)
    return (await connection.execute(balance)).scalar() or 0, (await connection.execute(topped_up)).scalar() is not None
