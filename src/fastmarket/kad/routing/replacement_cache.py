"""Peers that found no place in the routing table, and get one when it becomes free."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.formats.kad_key import KadKey
from fastmarket.kad.routing.contact import Contact


class ReplacementCache:
    """By bucket and key: at most k peers for a bucket, and as many of one address block as the bucket may
    hold. The one added longest ago is evicted."""

    __slots__ = ("_buckets", "_k", "_most_of", "contacts")

    def __init__(self, k: int, most_of: Callable[[bytes], int]) -> None:
        """`most_of(group)`: the limit of that address block in a bucket."""
        self._k = k
        self._most_of = most_of
        self._buckets: dict[int, dict[KadKey, Contact]] = {}
        self.contacts: dict[KadKey, Contact] = {}
        """All peers in the cache, by key; read-only."""

    def __len__(self) -> int:
        return len(self.contacts)

    def add(self, bucket: int, key: KadKey, contact: Contact) -> None:
        """Adds a peer, or moves it to the newest place."""
        waiting = self._buckets.setdefault(bucket, {})
        waiting.pop(key, None)
        group = contact.group
        if group is not None:
            alike = [other for other, held in waiting.items() if held.group == group]
            if len(alike) >= self._most_of(group):
                del waiting[alike[0]], self.contacts[alike[0]]
        waiting[key] = self.contacts[key] = contact
        if len(waiting) > self._k:
            oldest = next(iter(waiting))
            del waiting[oldest], self.contacts[oldest]

    def drop(self, bucket: int, key: KadKey) -> None:
        """Removes a peer."""
        if self.contacts.pop(key, None) is None:
            return
        waiting = self._buckets[bucket]
        del waiting[key]
        if not waiting:
            del self._buckets[bucket]

    def freshest(self, bucket: int) -> list[tuple[KadKey, Contact]]:
        """The peers of a bucket, newest first."""
        return list(self._buckets.get(bucket, {}).items())[::-1]
