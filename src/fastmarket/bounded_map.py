"""A map with a bound: whatever strangers send, entries leave at its front before it outgrows that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from enum import Enum
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_NO_WEIGHTS: dict[Any, int] = {}  # of every map without `max_weight`; nothing is ever put into it


class Eviction(Enum):
    """Which entry leaves first."""

    OLDEST = "oldest"  # put longest ago; an entry that is put again counts as new
    LEAST_RECENTLY_USED = "least recently used"  # put or got longest ago


class BoundedMap(Generic[K, V]):
    """Holds at most `max_entries`, and at most `max_weight` of what their callers say that they weigh.

    A call that evicts entries returns them, in the order in which they left. (An `OrderedDict` finds its
    first entry at once. A plain dict searches past all that were removed before it: at a bound of 10,000
    that made an insertion ten times as slow.)
    """

    __slots__ = ("_entries", "_max_entries", "_max_weight", "_moves", "_weights", "entries", "peek", "weight")

    def __init__(
        self,
        max_entries: int | None = None,
        *,
        max_weight: int | None = None,
        eviction: Eviction = Eviction.OLDEST,
    ) -> None:
        if max_entries is None and max_weight is None:
            raise ValueError("a BoundedMap needs a bound")
        self._max_entries = max_entries
        self._max_weight = max_weight
        self._moves = eviction is Eviction.LEAST_RECENTLY_USED
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weights: dict[K, int] = {} if max_weight is not None else _NO_WEIGHTS
        self.weight = 0
        """The weight of all entries; 0 where `max_weight` is None."""
        self.entries: Mapping[K, V] = self._entries
        """The entries, as they are at any time. (For what each request asks: it pays for no call.)"""
        self.peek: Callable[[K], V | None] = self._entries.get
        """As `get`, but no use of the entry; likewise the dict's own."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def values(self) -> ValuesView[V]:
        """In order; the first is the first to leave."""
        return self._entries.values()

    def items(self) -> ItemsView[K, V]:
        """Likewise."""
        return self._entries.items()

    def get(self, key: K) -> V | None:
        """The value of an entry, which is used by that; None: there is no such entry."""
        value = self._entries.get(key)
        if self._moves and (value is not None or key in self._entries):
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, weight: int = 0) -> Sequence[tuple[K, V]]:
        """Puts an entry at the end, instead of an earlier one with its key; returns what was evicted.

        An entry that exceeds a bound by itself is evicted at once, and displaces no other.
        """
        if self._max_weight is not None:
            return self._put_weighed(key, value, weight, self._max_weight)
        self._entries[key] = value
        self._entries.move_to_end(key)
        if self._max_entries is None or len(self._entries) <= self._max_entries:
            return ()
        return (self._entries.popitem(last=False),)

    def reweigh(self, key: K, weight: int) -> Sequence[tuple[K, V]]:
        """Changes the weight of an entry that stays where it is; returns what was evicted."""
        self.weight += weight - self._weights[key]
        self._weights[key] = weight
        return self._evict()

    def pop(self, key: K) -> V | None:
        """Removes an entry and returns its value; None: there was no such entry."""
        value = self._entries.pop(key, None)
        if self._weights:
            self.weight -= self._weights.pop(key, 0)
        return value

    def pop_newest(self) -> tuple[K, V] | None:
        """Removes the last entry and returns it; None: the map is empty."""
        return self._remove(last=True) if self._entries else None

    def clear(self) -> None:
        """Removes all entries."""
        self._entries.clear()
        self._weights.clear()
        self.weight = 0

    def _put_weighed(self, key: K, value: V, weight: int, max_weight: int) -> Sequence[tuple[K, V]]:
        self.pop(key)
        if weight > max_weight:
            return ((key, value),)
        self._entries[key] = value
        self._weights[key] = weight
        self.weight += weight
        return self._evict()

    def _evict(self) -> Sequence[tuple[K, V]]:
        evicted: list[tuple[K, V]] = []
        while self._exceeds():
            evicted.append(self._remove(last=False))
        return evicted

    def _exceeds(self) -> bool:
        if self._max_weight is not None and self.weight > self._max_weight:
            return True
        return self._max_entries is not None and len(self._entries) > self._max_entries

    def _remove(self, *, last: bool) -> tuple[K, V]:
        key, value = self._entries.popitem(last=last)
        self.weight -= self._weights.pop(key, 0)
        return key, value
