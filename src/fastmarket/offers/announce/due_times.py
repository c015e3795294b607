"""When offers are due: a queue by time in which an offer has one place, and is moved at once."""

from __future__ import annotations

import heapq

from fastmarket.offers.model.offer import OfferKey

# The heap of times is made again when more of them are empty than not, and at least so many.
EMPTY_TIMES = 256


class DueTimes:
    """Offers by the time at which they are due; those of one time together, the last one first.

    A heap of offers would keep an entry of each that was moved, and look at all of them to be rid of those:
    0.3 s for 100,000 offers. Here only a time without offers stays until it comes up.
    """

    __slots__ = ("_due", "_times")

    def __init__(self) -> None:
        self._due: dict[float, dict[OfferKey, None]] = {}
        self._times: list[float] = []  # a heap

    def __bool__(self) -> bool:
        return bool(self._due)

    def add(self, due: float, key: OfferKey) -> None:
        """Adds an offer that has no other time."""
        keys = self._due.get(due)
        if keys is None:
            self._due[due] = {key: None}
            heapq.heappush(self._times, due)
            if len(self._times) > 2 * len(self._due) + EMPTY_TIMES:
                self._times = list(self._due)
                heapq.heapify(self._times)
        else:
            keys[key] = None

    def remove(self, due: float, key: OfferKey) -> None:
        """Removes an offer from that time."""
        keys = self._due[due]
        del keys[key]
        if not keys:
            del self._due[due]

    def first(self) -> float | None:
        """The earliest time."""
        times, due = self._times, self._due
        while times and times[0] not in due:
            heapq.heappop(times)
        return times[0] if times else None

    def take(self, until: float) -> OfferKey | None:
        """Removes one of the offers that are due first, if that is not after `until`."""
        due = self.first()
        if due is None or due > until:
            return None
        keys = self._due[due]
        key, _ = keys.popitem()
        if not keys:
            del self._due[due]
        return key

    @property
    def time_count(self) -> int:
        """Times that are kept, those without offers included."""
        return len(self._times)
