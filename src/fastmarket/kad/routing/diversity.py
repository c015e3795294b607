"""Limits the entries of one address block in the table.

Ids cost nothing, addresses do: an attacker that makes up thousands of ids in one place must not become all
that a node knows. go-libp2p-kad-dht bounds its table likewise (`RTPeerDiversityFilter`).
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from fastmarket.config import KadConfig

_K = TypeVar("_K")


# In our own address block the limit is half a bucket: a network of machines in one data centre works, and an
# attacker that rents a machine beside ours leaves the other half.
OWN_GROUP_SHARE = 2


class Diversity:
    """Counts entries by (bucket, group) and by group; peers without a group are not counted."""

    __slots__ = ("_config", "_in_bucket", "_in_table", "_own", "is_counted")

    def __init__(self, config: KadConfig) -> None:
        self._config = config
        self._own: bytes | None = None
        self.is_counted = True
        """False: the table has entries that are not counted here."""
        self._in_bucket: Counter[tuple[int, bytes]] = Counter()
        self._in_table: Counter[bytes] = Counter()

    def set_own(self, group: bytes | None) -> None:
        """The group of this node itself, if any."""
        self._own = group

    def limit(self, group: bytes) -> int:
        """The limit of that group in one bucket."""
        limit = self._config.max_group_in_bucket
        return max(limit, self._config.k // OWN_GROUP_SHARE) if group == self._own else limit

    def has_room(self, bucket: int, group: bytes | None) -> bool:
        """Whether one more entry of that group may enter that bucket."""
        if group is None:
            return True
        if self._in_bucket[bucket, group] >= self.limit(group):
            return False
        return group == self._own or self._in_table[group] < self._config.max_group_in_table

    def add(self, bucket: int, group: bytes | None) -> None:
        """Counts an entry that entered."""
        if group is not None:
            self._in_bucket[bucket, group] += 1
            self._in_table[group] += 1

    def remove(self, bucket: int, group: bytes | None) -> None:
        """Counts an entry that left."""
        if group is not None:
            _less(self._in_bucket, (bucket, group))
            _less(self._in_table, group)


def _less(counts: Counter[_K], key: _K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
