"""The truth about who is closest to what: nodes in the order of their keys."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

KEY_BITS = 256


class Keyspace:
    """Nodes by number, in the order of their keys: a binary trie that is never built."""

    __slots__ = ("_keys", "order")

    def __init__(self, keyed: Iterable[tuple[bytes, int]]) -> None:
        """`keyed`: 32-byte keys, no two the same, and their nodes."""
        ordered = sorted((int.from_bytes(key, "big"), number) for key, number in keyed)
        self._keys = [key for key, _ in ordered]
        self.order: Sequence[int] = [number for _, number in ordered]
        """The nodes, by key."""

    def closest(self, target: bytes, count: int, counts: Callable[[int], bool] | None = None) -> list[int]:
        """The `count` nodes closest to a 32-byte key, among those that count."""
        found: list[int] = []
        for number in self._by_distance(int.from_bytes(target, "big"), 0, len(self._keys), 0):
            if counts is None or counts(number):
                found.append(number)
                if len(found) == count:
                    break
        return found

    def buckets(self, key: bytes, number: int) -> Iterator[range]:
        """What falls into each bucket of the node with that key and number, as places in `order`.

        The farthest bucket comes first, empty ones are left out.
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
        """Where, in a range of keys with `depth` bits in common, those with the next bit set begin."""
        shift = KEY_BITS - 1 - depth
        return bisect_left(self._keys, (self._keys[low] >> shift | 1) << shift, low, high)

    def _by_distance(self, target: int, low: int, high: int, depth: int) -> Iterator[int]:
        if high - low <= 1:
            yield from self.order[low:high]
            return
        middle = self._split(low, high, depth)
        near, far = (low, middle), (middle, high)
        if target >> (KEY_BITS - 1 - depth) & 1:
            near, far = far, near
        yield from self._by_distance(target, *near, depth + 1)
        yield from self._by_distance(target, *far, depth + 1)
