"""What one peer wants of us and has not got: in the order of its priorities, with a bound."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, nsmallest
from typing import TypeAlias

from fastmarket.exchange.bitswap.message import BlockWant

_Place: TypeAlias = tuple[int, int, bytes]
"""Priority, negative; when it came; CID. So they are sorted as they are answered."""


class WantQueue:
    """Wants by CID: the highest priority first, of equal ones the oldest."""

    __slots__ = ("_count", "_order", "_places", "_wants")

    def __init__(self) -> None:
        self._wants: dict[bytes, BlockWant] = {}
        self._places: dict[bytes, _Place] = {}
        self._order: list[
            _Place
        ] = []  # a heap; places of wants that are gone or have moved stay in it for a while
        self._count = 0

    def __len__(self) -> int:
        return len(self._wants)

    def add(self, wants: Iterable[BlockWant], most: int) -> int:
        """Adds wants; then drops those that would be answered last until there are `most`. Returns how many
        were dropped. A want of the block is not weakened to one of its presence."""
        for want in wants:
            known = self._wants.get(want.cid)
            if known is not None and want.only_presence and not known.only_presence:
                want = want._replace(only_presence=False)
            self._put(want)
        surplus = len(self._wants) - most
        if surplus > 0:
            kept = nsmallest(most, self._places.values())
            self._wants = {place[2]: self._wants[place[2]] for place in kept}
            self._places = {place[2]: place for place in kept}
            self._rebuild()
        return max(surplus, 0)

    def discard(self, cid: bytes) -> None:
        """It is not wanted any more."""
        if self._wants.pop(cid, None) is not None:
            del self._places[cid]

    def keep_only(self, cids: Iterable[bytes]) -> None:
        """Nothing else is wanted any more."""
        for cid in self._wants.keys() - set(cids):
            self.discard(cid)

    def peek(self) -> BlockWant | None:
        """The next one to answer; None: there is none."""
        order, places = self._order, self._places
        while order:
            place = order[0]
            if places.get(place[2]) is place:
                return self._wants[place[2]]
            heappop(order)
        return None

    def pop(self) -> BlockWant | None:
        """The same, which is removed."""
        want = self.peek()
        if want is not None:
            heappop(self._order)
            del self._wants[want.cid], self._places[want.cid]
        return want

    def _put(self, want: BlockWant) -> None:
        known = self._places.get(want.cid)
        self._wants[want.cid] = want
        if known is not None and known[0] == -want.priority:
            return
        self._count += 1
        place = self._places[want.cid] = (-want.priority, self._count, want.cid)
        heappush(self._order, place)
        if len(self._order) > 2 * len(self._wants) + 16:  # most of it is gone
            self._rebuild()

    def _rebuild(self) -> None:
        self._order = list(self._places.values())
        heapify(self._order)
