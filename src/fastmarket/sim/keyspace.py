"""The true closest nodes to a key: all nodes in the order of their keys.

The simulator compares every lookup with them. It is the routing table's own question, for a table without
bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastmarket._kbucket import BucketTable

KEY_BYTES = 32
KEY_BITS = 8 * KEY_BYTES
# Nodes examined beyond those wanted, because some do not count.
SPARE = 4


class Keyspace:
    """Nodes by number, in the order of their keys: an implicit binary trie."""

    __slots__ = ("_keys", "_table", "order")

    def __init__(self, keyed: Iterable[tuple[bytes, int]]) -> None:
        """`keyed`: distinct 32-byte keys, and their nodes."""
        by_key = sorted(keyed)
        ordered = [(int.from_bytes(key, "big"), number) for key, number in by_key]
        self._keys = [key for key, _ in ordered]
        size = max(len(ordered), 1)
        self._table: BucketTable[int] = BucketTable(bytes(KEY_BYTES), bucket_size=size, max_entries=size)
        for key, number in by_key:  # in order, so each is appended
            self._table.insert(key, number, 0.0)
        self.order: Sequence[int] = [number for _, number in ordered]
        """The nodes, in the order of their keys."""

    def closest(self, target: bytes, count: int, counts: Callable[[int], bool] | None = None) -> list[int]:
        """The `count` nodes closest to a 32-byte key, of those that count."""
        wanted = count if counts is None else count + SPARE
        while True:
            near = self._table.nearest(target, wanted)
            found = near if counts is None else [number for number in near if counts(number)]
            if len(found) >= count or len(near) < wanted:
                return found[:count]
            wanted *= 2

    def buckets(self, key: bytes, number: int) -> Iterator[range]:
        """The contents of each bucket of the node with that key and number, as places in `order`.

        The farthest bucket is first; empty ones are omitted.
        """
        own = int.from_bytes(key, "big")
        low, high = 0, len(self._keys)
        for depth in range(KEY_BITS):
            if low == high or (high - low == 1 and self.order[low] == number):
                break
            middle = self._split(low, high, depth)
            if own >> (KEY_BITS - 1 - depth) & 1:
                others, low = range(low, middle), middle
            else:
                others, high = range(middle, high), middle
            if others:
                yield others

    def _split(self, low: int, high: int, depth: int) -> int:
        """In a range of keys with `depth` common bits, where those with the next bit set begin."""
        shift = KEY_BITS - 1 - depth
        return bisect_left(self._keys, (self._keys[low] >> shift | 1) << shift, low, high)
