"""Own offers of which too few nodes hold a copy: they are announced again when the network has grown."""

from __future__ import annotations

from collections import deque

from fastmarket.kad.lookup.lookup import earlier
from fastmarket.offers.model.offer import OfferKey


class ThinOffers:
    """They are looked at a while after the routing table began to grow, in several turns."""

    __slots__ = ("_grown_at", "_keys", "_settle_s", "_settled_at", "_to_look_at", "neighbours")

    def __init__(self, settle_s: float) -> None:
        """`settle_s`: from the first sign of growth until the table is taken for grown."""
        self._settle_s = settle_s
        self._keys: dict[OfferKey, None] = {}  # in their order, which no hash decides
        self.neighbours = 0
        """The size of the routing table."""
        self._grown_at: float | None = None  # when it began to grow; None: no offer waits for that
        self._settled_at = 0.0
        self._to_look_at: deque[OfferKey] = deque()

    @property
    def has_timer(self) -> bool:
        """Whether `next_timer` may be due at some time."""
        return self._grown_at is not None or bool(self._to_look_at)

    def next_timer(self) -> float | None:
        """When `take_due` has something."""
        when = None if self._grown_at is None else self._grown_at + self._settle_s
        return earlier(when, self._settled_at) if self._to_look_at else when

    def add(self, key: OfferKey, neighbours: int, now: float) -> None:
        """Too few hold it after an announcement that began with a table of that size."""
        self._keys[key] = None
        if neighbours < self.neighbours and self._grown_at is None:
            self._grown_at = now

    def discard(self, key: OfferKey) -> None:
        """Enough hold it, or it has ended."""
        self._keys.pop(key, None)

    def on_table_size(self, count: int, now: float) -> None:
        """The size of the routing table has changed."""
        if count > self.neighbours and self._keys and self._grown_at is None:
            self._grown_at = now
        self.neighbours = count

    def take_due(self, most: int, now: float) -> list[OfferKey]:
        """Up to so many of those that may spread to more nodes now."""
        if self._grown_at is not None and self._grown_at + self._settle_s <= now:
            self._settled_at, self._grown_at = now, None
            self._to_look_at = deque(self._keys)
        return [self._to_look_at.popleft() for _ in range(min(most, len(self._to_look_at)))]
