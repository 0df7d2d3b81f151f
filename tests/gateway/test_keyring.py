"""Which keys open the door: kinds, expiry, revocation, and where they come from. Pure."""

import asyncio

import msgspec
import pytest

from shoal.core.addresses import is_within
from shoal.core.identity import KeyRecord, principal_of
from shoal.core.terms import Terms
from shoal.gateway.auth import Keyring, KeySource, digest_of, origin


class Store:
    """Keys, as they are changed."""

    def __init__(self) -> None:
        self.records: dict[bytes, KeyRecord] = {}
        self.asked = 0

    def put(self, record: KeyRecord) -> None:
        """Make or change a key."""
        self.records[record.digest] = msgspec.structs.replace(record, revision=len(self.records) + 10 * self.asked + 1)

    def source(self) -> KeySource:
        """As the gateway sees it."""

        async def changed_since(revision: int) -> list[KeyRecord]:
            self.asked += 1
            return sorted((one for one in self.records.values() if one.revision > revision), key=lambda one: one.revision)

        async def find(digest: bytes) -> KeyRecord | None:
            return self.records.get(digest)

        return KeySource(changed_since, find)


DIGEST = digest_of(b"secret")
KEY = KeyRecord("key_1", "one", DIGEST, 1)


async def test_a_key_for_administration_opens_nothing_else_and_the_other_way_round() -> None:
    store, admin = Store(), digest_of(b"admin")
    store.put(KEY)
    store.put(KeyRecord("key_2", "two", admin, 1, kind="admin"))
    keys = Keyring(store.source())
    await keys.refresh()
    assert keys.find(DIGEST) is not None
    assert keys.find(admin) is None
    assert keys.find_admin(DIGEST) is None
    assert keys.find_admin(admin) is not None
    assert await keys.look_up(admin) is None


async def test_a_key_ends_in_the_millisecond_in_which_it_expires() -> None:
    now = [1000.0]
    store = Store()
    store.put(msgspec.structs.replace(KEY, expires_at_ms=1_000_500))
    keys = Keyring(store.source(), lambda: now[0])
    await keys.refresh()
    assert keys.find(DIGEST) is not None
    now[0] = 1000.499
    assert keys.find(DIGEST) is not None
    now[0] = 1000.5
    assert keys.find(DIGEST) is None
    assert await keys.look_up(DIGEST) is None


async def test_changes_are_taken_over() -> None:
    store = Store()
    store.put(KEY)
    keys = Keyring(store.source())
    await keys.refresh()
    store.put(msgspec.structs.replace(KEY, terms=Terms(rpm=5), prepaid=True))
    await keys.refresh()
    holder = keys.find(DIGEST)
    assert holder is not None
    assert (holder.terms.rpm, holder.counted) == (5, True)
    store.put(msgspec.structs.replace(KEY, kind="admin"))
    await keys.refresh()
    assert keys.find(DIGEST) is None
    store.put(msgspec.structs.replace(KEY, revoked=True))
    await keys.refresh()
    assert keys.find(DIGEST) is None
    assert keys.find_admin(DIGEST) is None


async def test_many_who_wait_for_one_answer_ask_once() -> None:
    asked = 0
    gate = asyncio.Event()

    async def find(digest: bytes) -> KeyRecord | None:
        nonlocal asked
        asked += 1
        await gate.wait()
        return KEY if digest == DIGEST else None

    async def changed_since(revision: int) -> list[KeyRecord]:
        return []

    keys = Keyring(KeySource(changed_since, find))
    waiting = [asyncio.create_task(keys.look_up(DIGEST)) for _ in range(50)]
    strangers = [asyncio.create_task(keys.look_up(bytes([number]))) for number in range(50)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked <= 4
    waiting[0].cancel()  # whose answer the others wait for all the same
    gate.set()
    found = await asyncio.gather(*waiting[1:])
    assert {one.key_id for one in found if one is not None} == {"key_1"}
    assert None not in found
    assert await asyncio.gather(*strangers) == [None] * 50
    assert asked == 51


def networks(*ips: str) -> tuple[object, ...]:
    found = principal_of(msgspec.structs.replace(KEY, terms=Terms(ips=ips))).networks
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("unix", False),
        ("10.1.2.3, 10.1.2.4", False),
    ],
)
def test_addresses_are_compared_as_addresses(address: str, within: bool) -> None:
    assert is_within(address, networks("10.1.0.0/16", "192.0.2.7", "2001:db8::/32")) is within  # type: ignore[arg-type]


PROXIES = networks("127.0.0.1", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", b"203.0.113.9", "192.0.2.1"),  # nobody whom we trust says so
        ("127.0.0.1", b"203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", b"198.51.100.1, 203.0.113.9", "203.0.113.9"),  # what stands before it the caller may have written
        ("127.0.0.1", b"203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("127.0.0.1", b"10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("127.0.0.1", b"203.0.113.9, nonsense", "127.0.0.1"),
        ("127.0.0.1", b"2001:db8::9", "2001:db8::9"),
        ("127.0.0.1", b"", "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(peer: str, forwarded: bytes, found: str) -> None:
    assert origin(peer, {b"x-forwarded-for": forwarded}, PROXIES) == found  # type: ignore[arg-type]
    assert origin(peer, {b"x-forwarded-for": forwarded}, ()) == peer
