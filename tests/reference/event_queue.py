"""Twin of fastmarket.native.event_queue: the events as tuples in a heapq."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class EventQueue:
    __slots__ = ("_heap", "_sequence", "events", "now")

    def __init__(self, start: float) -> None:
        self.now = start
        self.events = 0
        """Events that have happened."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._sequence = 0

    def at(self, when: float, action: Callable[..., None], *args: object) -> None:
        """Have `action(*args)` happen at `when` (unix seconds); a moment that is past means now."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when, self.now), self._sequence, action, args))

    def after(self, delay_s: float, action: Callable[..., None], *args: object) -> None:
        """Have `action(*args)` happen in a while."""
        self.at(self.now + delay_s, action, *args)

    def run(self, until: Callable[[], bool], within_s: float) -> bool:
        """Let events happen until the condition holds; False when it does not within `within_s` seconds."""
        end = self.now + within_s
        while not until():
            if not self._step(end):
                return False
        return True

    def rest(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def clear(self) -> None:
        """Forget what was still to happen."""
        self._heap.clear()

    def _step(self, end: float) -> bool:
        heap = self._heap
        if not heap or heap[0][0] > end:
            return False
        self.now, _, action, args = heapq.heappop(heap)
        self.events += 1
        action(*args)
        return True
