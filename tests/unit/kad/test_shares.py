"""Values and providers of strangers: who has most gives way, and our own stay."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import KadConfig
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.record_store import ProviderStore, RecordStore
from fastmarket.kad.records.shares import NEARBY, Shares, Source, distance
from fastmarket.kad.records.tracked_store import TrackedRecordStore
from tests.virtual import peer_info_of

NOW = 1_700_000_000.0
HOME, ELSEWHERE = b"\x08\x08", b"\x09\x09"
FLOOD = Source(HOME, b"flood")
SOURCES = [Source(block, name) for block in (HOME, ELSEWHERE, NEARBY) for name in (b"a", b"b")]


def record(name: object, size: int = 10) -> Record:
    return Record(f"key {name}".encode(), bytes(size), NOW, NOW + 1000.0)


@pytest.mark.parametrize("source", [Source(HOME, b"other"), Source(ELSEWHERE, b"flood"), None])
@pytest.mark.parametrize("bound", ["max_records", "max_record_store_bytes"])
def test_values_of_one_peer_keep_no_others_out(source: Source | None, bound: str) -> None:
    store = RecordStore(replace(KadConfig(), **{bound: 100 if bound == "max_records" else 2000}))
    for n in range(400):
        store.put(record(n), NOW, FLOOD)
    for n in range(20):
        assert store.put(record(("honest", n)), NOW, source)
    for n in range(400, 800):
        store.put(record(n), NOW, FLOOD)
    assert all(store.get(record(("honest", n)).key, NOW) for n in range(20))
    if source is not None:
        assert len(store) <= 100 or store.size_bytes <= 2000


def test_of_one_sender_the_values_nearest_to_us_stay() -> None:
    local = bytes(range(32))
    store = RecordStore(replace(KadConfig(), max_records=20), local)
    for n in range(100):
        store.put(record(n), NOW, FLOOD)
    nearest = sorted((record(n).key for n in range(100)), key=lambda key: distance(local, key))[:20]
    assert all(store.get(key, NOW) for key in nearest)


class Watched(Record):
    """A record that counts how often its expiry is looked at."""

    looked = 0

    def __getattribute__(self, name: str) -> object:
        if name == "expires":
            Watched.looked += 1
        return super().__getattribute__(name)


def test_a_full_store_is_not_searched_for_expired_values_at_each_refusal() -> None:
    store = RecordStore(replace(KadConfig(), max_records=100), bytes(32))
    for n in range(100):
        assert store.put(Watched(b"/pk/%d" % n, b"value", NOW, NOW + 1000.0 + n), NOW, FLOOD)
    Watched.looked = 0
    for n in range(100):
        store.would_refuse(record(n), NOW + 1, FLOOD)
        store.put(record(n, 10_000), NOW + 1, FLOOD)
    assert Watched.looked < 100 * 2, "not one search of all a value"
    assert store.expire(NOW + 1050.0) > 0
    assert not any(store.get(b"/pk/%d" % n, NOW) for n in range(50)), "those that expired are dropped"


@pytest.mark.parametrize("source", [Source(HOME, b"other"), Source(ELSEWHERE, b"other"), None])
def test_who_brings_values_of_others_again_cannot_have_them_give_way(source: Source | None) -> None:
    store = RecordStore(replace(KadConfig(), max_records=100), bytes(32))
    honest = [record(("honest", n)) for n in range(20)]
    for one in honest:
        assert store.put(one, NOW, source)
    for one in honest:
        assert store.put(one, NOW + 1, FLOOD)
    for n in range(1000):
        store.put(record(n), NOW, FLOOD)
    assert all(store.get(one.key, NOW) for one in honest)


def test_but_a_value_is_his_whom_its_key_names() -> None:
    store = RecordStore(replace(KadConfig(), max_records=100), bytes(32))
    honest = [record(("honest", n)) for n in range(20)]
    for one in honest:
        store.put(one, NOW, FLOOD)
    for one in honest:
        assert store.put(one, NOW + 1, Source(ELSEWHERE, one.key[-10:]))
    for n in range(1000):
        store.put(record(n), NOW, FLOOD)
    assert all(store.get(one.key, NOW) for one in honest)


@pytest.mark.parametrize("source", [Source(HOME, b"other"), Source(ELSEWHERE, b"flood"), None])
def test_providers_of_one_peer_keep_no_others_out(source: Source | None) -> None:
    store = ProviderStore(replace(KadConfig(), max_provider_records=100))
    for n in range(400):
        store.add(b"%d" % n, peer_info_of(1), NOW, FLOOD)
    for n in range(20):
        assert store.add(b"honest %d" % n, peer_info_of(2), NOW, source)
    for n in range(400, 800):
        store.add(b"%d" % n, peer_info_of(1), NOW, FLOOD)
    assert all(store.providers(b"honest %d" % n, NOW) for n in range(20))


def test_a_key_with_many_providers_of_one_block_keeps_those_of_others() -> None:
    store = ProviderStore(replace(KadConfig(), max_providers_per_key=8))
    store.add(b"key", peer_info_of(1), NOW)  # ourselves
    for n in (2, 3):
        store.add(b"key", peer_info_of(n), NOW, Source(ELSEWHERE, b"%d" % n))
    for n in range(10, 60):
        assert store.add(b"key", peer_info_of(n), NOW, Source(HOME, b"%d" % n))
    found = [peer.peer_id for peer in store.providers(b"key", NOW)]
    assert [peer_info_of(n).peer_id in found for n in (1, 2, 3, 59)] == [True] * 4
    assert len(found) == 8


def test_a_value_that_gave_way_leaves_the_disk() -> None:
    store = TrackedRecordStore(replace(KadConfig(), max_records=10))
    for n in range(10):
        store.put(record(n), NOW, FLOOD)
    assert len(store.take_changed()) == 10
    assert store.put(record("other"), NOW, Source(ELSEWHERE, b"other"))
    store.put(record("brief"), NOW, FLOOD)
    told = store.take_changed()
    gone = {one.key for one, _ in told if one.expires <= NOW}
    assert record("other").key in {one.key for one, _ in told} - gone
    assert {record(n).key for n in range(10) if store.get(record(n).key, NOW) is None} == gone != set()


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 5000), st.booleans()), max_size=120
    )
)
@settings(deadline=None)
def test_shares_are_the_sums_of_what_is_there(steps: list[tuple[int, int, int, bool]]) -> None:
    shares: Shares[int] = Shares(lambda unit: (unit, 1), 20_000, 10_000)
    held: dict[int, tuple[Source, int]] = {}
    for unit, number, cost, comes in steps:
        if unit in held:
            shares.leave(unit, held.pop(unit)[1])
        if comes:
            held[unit] = (SOURCES[number], cost)
            shares.enter(unit, SOURCES[number], cost)
        blocks: Counter[bytes] = Counter()
        senders: Counter[Source] = Counter()
        for source, taken in held.values():
            blocks[source.block] += taken
            senders[source] += taken
        for source in SOURCES:
            assert shares.taken_bytes(source) == (blocks[source.block], senders[source])
        assert len(shares) == len(held)
        found = shares.victim(Source(b"new", b"new"), 1, True)
        if not held or max(blocks.values()) <= 1:
            assert found is None
            continue
        assert found is not None
        source = held[found[0]][0]
        # To one part in 1,024 the largest, and its farthest.
        assert blocks[source.block] >= max(blocks.values()) * (1 - 2**-9)
        rivals = {one: taken for one, taken in senders.items() if one.block == source.block}
        assert senders[source] >= max(rivals.values()) * (1 - 2**-9)
        assert found[0] == max(unit for unit, (other, _) in held.items() if other == source)


def test_what_comes_and_goes_again_and_again_is_noted_once() -> None:
    shares: Shares[int] = Shares(lambda unit: (unit, 1), 1 << 30, 1 << 30)
    for n in range(5000):
        shares.enter(n % 3, FLOOD, 10 + n)
        shares.victim(Source(b"new", b"new"), 1, True)
        shares.leave(n % 3, 10 + n)
        shares.enter(5, FLOOD, 10)
        sender = shares._units[5]
        assert len(sender.fresh) + len(sender.filed) < 200
        assert len(sender.block.ranking._ranks) < 200
        shares.leave(5, 10)
    assert shares._blocks == {}
