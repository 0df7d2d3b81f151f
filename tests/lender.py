"""A lender in memory, which keeps core/lending.py's contract for several processes at once: what the path is tested with.

`available` is what each key's allowance still has; a lease is taken out of it, and comes back only by being given back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from shoal.core.lending import Allowance, Draw, Grant, Shortfall, StoreAway, Unit


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Till:
    """What all processes share: money by key, and buckets by key and unit."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.available: dict[str, int] = {}
        self.what: Allowance = "daily"
        self.resets_at_ms: int | None = None
        self.leases: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.rates: dict[tuple[str, Unit], tuple[int, int]] = {}  # a minute, at once
        self.levels: dict[tuple[str, Unit], float] = {}
        self.at: dict[tuple[str, Unit], float] = {}
        self.lent: defaultdict[tuple[str, Unit, str], int] = defaultdict(int)
        self.wanted: set[tuple[str, str]] = set()


class Lender:
    """One process's. `away`: the store cannot be reached; `gate`: answers wait until it is set; `asked` is what it was asked for."""

    def __init__(self, till: Till, name: str = "one") -> None:
        self._till = till
        self._name = name
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[object, ...]] = []
        self.beats = 0

    async def _ask(self, *what: object) -> None:
        self.asked.append(what)
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.away:
            raise StoreAway("nobody is there")

    async def borrow(self, key_id: str, need_nano: int, want_nano: int) -> Grant:
        await self._ask("borrow", key_id, need_nano, want_nano)
        assert 0 <= need_nano <= want_nano
        till, lease = self._till, f"lease_{self._name}_{key_id}"
        available = till.available[key_id]
        if need_nano > available:
            others = sum(nano for (_, key), nano in till.leases.items() if key == key_id) - till.leases[self._name, key_id]
            till.wanted.add((key_id, "money"))
            return Grant(lease, 0, Shortfall(till.what, available, till.resets_at_ms, in_flight=available + others >= need_nano))
        amount = min(want_nano, max(need_nano, available // 4)) if need_nano else min(want_nano, available // 4)
        till.available[key_id] -= amount
        till.leases[self._name, key_id] += amount
        return Grant(lease, amount)

    async def give_back(self, key_id: str, lease: str, amount_nano: int) -> None:
        await self._ask("give_back", key_id, amount_nano)
        assert lease == f"lease_{self._name}_{key_id}"
        assert 0 < amount_nano <= self._till.leases[self._name, key_id]
        self._till.leases[self._name, key_id] -= amount_nano
        self._till.available[key_id] += amount_nano

    async def draw(self, key_id: str, unit: Unit, need: int, want: int, spent: int, unspent: int) -> Draw:
        await self._ask("draw", unit, need, want, spent, unspent)
        assert 0 <= need <= want
        assert spent >= 0
        assert unspent >= 0
        assert not (unit == "parallel" and spent)
        till, now = self._till, self._till.clock()
        rate, burst = till.rates[key_id, unit]
        mine, every = (key_id, unit, self._name), [name for name in till.lent if name[:2] == (key_id, unit)]
        level = till.levels.get((key_id, unit), float(burst))
        if unit != "parallel":
            level += (now - till.at.get((key_id, unit), now)) * rate / 60
        till.at[key_id, unit] = now
        level = min(level, burst - sum(till.lent[name] for name in every))
        level -= max(0, spent - till.lent[mine])
        till.lent[mine] = max(0, till.lent[mine] - spent)
        till.lent[mine] = max(0, till.lent[mine] - unspent)
        level = min(burst - sum(till.lent[name] for name in every), level + unspent)
        granted = min(want, max(0, int(level)))
        if granted < need:
            granted = 0
        level -= granted
        till.lent[mine] += granted
        till.levels[key_id, unit] = level
        return Draw(granted, 0.0 if granted >= need else (need - level) * 60 / rate, max(0, int(level)))

    async def recalled(self) -> Sequence[tuple[str, str]]:
        await self._ask("recalled")
        return sorted(self._till.wanted)

    async def beat(self) -> None:
        await self._ask("beat")
        self.beats += 1
