"""fastmarket._kbucket against a list sorted anew for every question, and its own rules one by one."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastmarket._kbucket import BucketTable, ContactState, Inserted
from tests.reference import kbucket as twin
from tests.reference.sha256 import sha256

LOCAL = bytes.fromhex("5a" * 32)


def key_at(bucket: int, number: int = 0) -> bytes:
    """The key of a bucket (of LOCAL) whose free bits spell `number`."""
    return twin.BucketTable(LOCAL).random_key_in(bucket, number.to_bytes(32, "big"))


random_keys = st.binary(min_size=32, max_size=32)
# Few buckets and few keys, so that buckets fill and keys come back; deep ones share their first 64 bits.
crowded_keys = st.builds(key_at, st.sampled_from([0, 1, 2, 7, 63, 64, 65, 130, 250]), st.integers(0, 5))
keys = random_keys | crowded_keys | st.just(LOCAL)


class Tables(RuleBasedStateMachine):
    """The compiled table and the model under the same calls."""

    @initialize(
        bucket_size=st.sampled_from([1, 2, 3, 20, 1000]), max_entries=st.sampled_from([1, 5, 70, 5120])
    )
    def build(self, bucket_size, max_entries):
        sizes = {"bucket_size": bucket_size, "max_entries": max_entries}
        self.ours, self.twin = BucketTable(LOCAL, **sizes), twin.BucketTable(LOCAL, **sizes)
        self.now = 0.0

    def tick(self):
        self.now += 1.0
        return self.now

    @rule(key=keys, value=st.integers())
    def insert(self, key, value):
        now = self.tick()
        assert self.ours.insert(key, value, now) == self.twin.insert(key, value, now)

    @rule(start=st.integers(0, 1000), count=st.sampled_from([10, 70]))
    def insert_many(self, start, count):
        for number in range(start, start + count):
            self.insert(sha256(number.to_bytes(4, "big")), number)

    @rule(key=keys)
    def touch(self, key):
        now = self.tick()
        assert self.ours.touch(key, now) == self.twin.touch(key, now)

    @rule(key=keys)
    def remove(self, key):
        assert self.ours.remove(key) == self.twin.remove(key)

    @rule(pick=st.integers(0, 10_000))
    def remove_a_held_one(self, pick):
        if self.twin.entries:
            self.remove(self.twin.entries[pick % len(self.twin.entries)].key)

    @rule(aim=keys, count=st.sampled_from([0, 1, 2, 20, 100, 129, 10_000]))
    def nearest(self, aim, count):
        assert self.ours.nearest_keys(aim, count) == self.twin.nearest_keys(aim, count)
        assert self.ours.nearest(aim, count) == self.twin.nearest(aim, count)

    @rule(key=keys)
    def look_up(self, key):
        assert self.ours.get(key) == self.twin.get(key)
        assert self.ours.last_seen(key) == self.twin.last_seen(key)
        assert (key in self.ours) == (key in self.twin)

    @rule(bucket=st.integers(0, 255), age=st.sampled_from([0.0, 3.0, 100.0]))
    def refresh(self, bucket, age):
        assert self.ours.stale_buckets(self.now, age) == self.twin.stale_buckets(self.now, age)
        self.ours.mark_refreshed(bucket, self.tick())
        self.twin.mark_refreshed(bucket, self.now)
        assert self.ours.least_recent(bucket) == self.twin.least_recent(bucket)

    @invariant()
    def same(self):
        assert len(self.ours) == len(self.twin)
        assert self.ours.items() == self.twin.items()
        assert self.ours.bucket_sizes() == self.twin.bucket_sizes()


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(random_keys, st.integers(0, 255), random_keys)
def test_a_random_key_lies_in_its_bucket(local, bucket, entropy):
    table = BucketTable(local)
    key = table.random_key_in(bucket, entropy)
    assert table.bucket_index(key) == bucket
    assert key == twin.BucketTable(local).random_key_in(bucket, entropy)


def contact(encoded, hidden=False):
    state = ContactState()
    state.encoded, state.hidden, state.failures, state.seen = encoded, hidden, 3, 0.0
    return state


@given(
    st.dictionaries(
        random_keys | crowded_keys, st.tuples(st.binary(max_size=20), st.booleans()), max_size=60
    ),
    keys,
    st.integers(0, 60),
    st.sampled_from([0, 1, 5, 20, 100]),
    st.sampled_from([0, 19, 40, 200, 1 << 30]),
    st.integers(0, 3),
)
def test_the_entries_of_the_nearest_are_joined(held, target, pick, count, room, surplus):
    table, model = BucketTable(LOCAL, bucket_size=60), twin.BucketTable(LOCAL, bucket_size=60)
    for key, (encoded, hidden) in held.items():
        table.insert(key, contact(encoded, hidden), 0.0)
        model.insert(key, contact(encoded, hidden), 0.0)
    hidden = sum(hidden for _, hidden in held.values()) + surplus
    for asker in (None, target, *list(held)[pick : pick + 1]):
        given = (b"head", target, asker, count, hidden, b"tail", room)
        assert table.joined(*given) == model.joined(*given)
    for key in (target, *held):
        seen, known = table.see(key, 7.0), model.see(key, 7.0)
        assert (seen is None) == (known is None)
        if seen is not None:
            assert (seen.seen, seen.failures, table.last_seen(key)) == (7.0, 0, 7.0)
            assert (known.seen, known.failures, seen.encoded) == (7.0, 0, known.encoded)


def test_joined_and_see_want_contacts():
    table = BucketTable(LOCAL)
    table.insert(key_at(0), "no contact", 0.0)
    with pytest.raises(TypeError):
        table.joined(b"", LOCAL, None, 1, 0)
    with pytest.raises(TypeError):
        table.see(key_at(0), 1.0)
    assert table.joined(b"head", LOCAL, None, 0, 0) == b"head"


def test_nearest_of_thousands_is_the_sorted_list():
    local, *held = [sha256(number.to_bytes(4, "big")) for number in range(3001)]
    table, model = BucketTable(local, bucket_size=3000), twin.BucketTable(local, bucket_size=3000)
    for key in held:
        table.insert(key, key, 0.0)
        model.entries.append(twin.Entry(key, key, 0.0))
    for target in [*held[:20], *(sha256(key) for key in held[:20]), local]:
        for count in (1, 20, 127, 128, 129, 3000):
            assert table.nearest(target, count) == model.nearest(target, count)


def test_a_full_bucket_names_the_least_recently_seen():
    table = BucketTable(LOCAL, bucket_size=2)
    assert table.insert(key_at(0, 1), "a", 1.0) == (Inserted.ADDED, None)
    assert table.insert(key_at(0, 2), "b", 2.0) == (Inserted.ADDED, None)
    assert table.insert(key_at(0, 3), "c", 3.0) == (Inserted.FULL, "a")
    table.touch(key_at(0, 1), 4.0)
    assert table.insert(key_at(0, 3), "c", 5.0) == (Inserted.FULL, "b")
    assert table.insert(key_at(0, 2), "B", 6.0) == (Inserted.UPDATED, None)
    assert table.insert(key_at(0, 3), "c", 7.0) == (Inserted.FULL, "a")
    table.remove(key_at(0, 1))
    assert table.insert(key_at(0, 3), "c", 8.0) == (Inserted.ADDED, None)
    assert table.get(key_at(0, 2)) == "B"


def test_a_full_table_names_one_of_its_fullest_bucket():
    table = BucketTable(LOCAL, max_entries=3)
    for number in range(2):
        table.insert(key_at(1, number), f"crowd {number}", 1.0)
    table.insert(key_at(9), "deep", 1.0)
    assert table.insert(key_at(30), "new", 2.0) == (Inserted.FULL, "crowd 0")
    assert len(table) == 3


def test_the_local_key_is_never_held():
    table = BucketTable(LOCAL)
    assert table.insert(LOCAL, "me", 1.0) == (Inserted.SELF, None)
    assert len(table) == 0
    assert LOCAL not in table
    assert table.bucket_index(LOCAL) == 256


@pytest.mark.parametrize(
    "call",
    [
        lambda t: BucketTable(bytes(31)),
        lambda t: BucketTable(LOCAL, bucket_size=0),
        lambda t: BucketTable(LOCAL, max_entries=1 << 40),
        lambda t: t.insert(bytes(33), None, 0.0),
        lambda t: t.touch(b"", 0.0),
        lambda t: t.nearest(bytes(5), 1),
        lambda t: t.nearest(LOCAL, -1),
        lambda t: t.least_recent(256),
        lambda t: t.mark_refreshed(-1, 0.0),
        lambda t: t.random_key_in(256, bytes(32)),
        lambda t: t.random_key_in(-1, bytes(32)),
        lambda t: t.random_key_in(3, bytes(31)),
    ],
)
def test_bad_arguments_are_value_errors(call):
    with pytest.raises(ValueError, match=r"wanted|negative"):
        call(BucketTable(LOCAL))


class Node:
    def __init__(self) -> None:
        self.table: object = None


def test_values_are_released_and_cycles_collected():
    table = BucketTable(LOCAL)
    first, second = Node(), Node()
    first.table = second.table = table
    gone, replaced = weakref.ref(second), weakref.ref(first)
    table.insert(key_at(0), first, 0.0)
    table.insert(key_at(0), second, 0.0)
    del first
    gc.collect()
    assert replaced() is None
    assert gone() is second
    del table, second
    gc.collect()
    assert gone() is None


def test_a_value_may_call_back_when_it_is_dropped():
    table = BucketTable(LOCAL, bucket_size=4)

    class Dropped:
        def __del__(self):
            table.insert(key_at(0, 7), "late", 9.0)

    table.insert(key_at(0, 1), Dropped(), 1.0)
    table.remove(key_at(0, 1))
    assert table.items() == ["late"]
