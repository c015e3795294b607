"""A BoundedMap does what a plain list of entries does that is cut at its front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastmarket.bounded_map import BoundedMap, Eviction

KEYS = st.integers(0, 7)
VALUES = st.one_of(st.none(), st.integers(0, 9))
WEIGHTS = st.integers(0, 6)
BOUNDS = st.one_of(st.none(), st.integers(0, 6))


class Model:
    """Entries (key, value, weight) in order; evicts the first while there is too much."""

    def __init__(self, max_entries: int | None, max_weight: int | None, eviction: Eviction) -> None:
        self.max_entries, self.max_weight, self.eviction = max_entries, max_weight, eviction
        self.entries: list[tuple[int, int | None, int]] = []

    def find(self, key: int) -> tuple[int, int | None, int] | None:
        return next((entry for entry in self.entries if entry[0] == key), None)

    def remove(self, key: int) -> int | None:
        found = self.find(key)
        if found is None:
            return None
        self.entries.remove(found)
        return found[1]

    def get(self, key: int) -> int | None:
        found = self.find(key)
        if found is not None and self.eviction is Eviction.LEAST_RECENTLY_USED:
            self.entries.remove(found)
            self.entries.append(found)
        return None if found is None else found[1]

    def put(self, key: int, value: int | None, weight: int) -> list[tuple[int, int | None]]:
        self.remove(key)
        if self.max_weight is not None and weight > self.max_weight:
            return [(key, value)]
        self.entries.append((key, value, weight))
        return self.cut()

    def reweigh(self, key: int, weight: int) -> list[tuple[int, int | None]]:
        at = next(at for at, entry in enumerate(self.entries) if entry[0] == key)
        self.entries[at] = (*self.entries[at][:2], weight)
        return self.cut()

    def cut(self) -> list[tuple[int, int | None]]:
        evicted = []
        while (self.max_entries is not None and len(self.entries) > self.max_entries) or (
            self.max_weight is not None and self.weight() > self.max_weight
        ):
            key, value, _ = self.entries.pop(0)
            evicted.append((key, value))
        return evicted

    def weight(self) -> int:
        return sum(weight for _, _, weight in self.entries)


class Agreement(RuleBasedStateMachine):
    """Both are told the same."""

    @initialize(max_entries=BOUNDS, max_weight=BOUNDS, eviction=st.sampled_from(Eviction))
    def begin(self, max_entries: int | None, max_weight: int | None, eviction: Eviction) -> None:
        if max_entries is None and max_weight is None:
            max_entries = 3
        self.model = Model(max_entries, max_weight, eviction)
        self.map: BoundedMap[int, int | None] = BoundedMap(
            max_entries, max_weight=max_weight, eviction=eviction
        )

    @rule(key=KEYS, value=VALUES, weight=WEIGHTS)
    def put(self, key: int, value: int | None, weight: int) -> None:
        assert list(self.map.put(key, value, weight)) == self.model.put(key, value, weight)

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        assert self.map.get(key) == self.model.get(key)

    @rule(key=KEYS)
    def peek(self, key: int) -> None:
        found = self.model.find(key)
        assert self.map.peek(key) == (None if found is None else found[1])
        assert (key in self.map) == (found is not None)

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        assert self.map.pop(key) == self.model.remove(key)

    @rule(key=KEYS, weight=WEIGHTS)
    def reweigh(self, key: int, weight: int) -> None:
        if self.model.max_weight is not None and key in self.map:
            assert list(self.map.reweigh(key, weight)) == self.model.reweigh(key, weight)

    @rule()
    def pop_newest(self) -> None:
        last = self.model.entries.pop()[:2] if self.model.entries else None
        assert self.map.pop_newest() == last

    @rule()
    def clear(self) -> None:
        self.map.clear()
        self.model.entries.clear()

    @invariant()
    def agree(self) -> None:
        assert list(self.map) == [key for key, _, _ in self.model.entries]
        assert list(self.map.items()) == [(key, value) for key, value, _ in self.model.entries]
        assert list(self.map.values()) == [value for _, value, _ in self.model.entries]
        assert len(self.map) == len(self.model.entries)
        assert self.map.weight == (0 if self.model.max_weight is None else self.model.weight())


TestAgreement = Agreement.TestCase


@given(st.lists(KEYS))
def test_nothing_evicted_is_lost(keys: list[int]) -> None:
    """Whatever was put is held, or was replaced, or came back from the call that evicted it."""
    held: BoundedMap[int, int] = BoundedMap(3)
    gone: list[int] = []
    for number, key in enumerate(keys):
        before = held.peek(key)
        gone += [value for _, value in held.put(key, number)]
        gone += [] if before is None else [before]
    assert sorted([*gone, *held.values()]) == list(range(len(keys)))


def test_a_map_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="bound"):
        BoundedMap()
