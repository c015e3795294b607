"""The commands in progress: by number, with their timers, and which of them wait for a durable copy."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf

from fastmarket.core.durability import Waiting
from fastmarket.core.operations import Operation
from fastmarket.core.registrations import PutOperation

# Timers of ended operations are dropped when there are this many more than operations.
STALE_TIMERS = 1024


class InProgress:
    """Operations from `add` to `remove`. What is said of one that has ended is ignored."""

    __slots__ = ("_awaiting", "_by_number", "_last", "_timers")

    def __init__(self) -> None:
        self._by_number: dict[int, Operation] = {}
        self._timers: list[tuple[float, int]] = []
        self._awaiting: Waiting[PutOperation] = Waiting()
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_number)

    @property
    def awaiting_count(self) -> int:
        """Operations that wait for the answer to a `Persist`."""
        return len(self._awaiting)

    def next_number(self) -> int:
        """The number of the next operation."""
        self._last += 1
        return self._last

    def add(self, operation: Operation) -> None:
        """It begins."""
        self._by_number[operation.number] = operation

    def get(self, number: int) -> Operation | None:
        """The operation, unless it has ended."""
        return self._by_number.get(number)

    def remove(self, operation: Operation) -> bool:
        """It has ended; False: it had before."""
        if self._by_number.pop(operation.number, None) is None:
            return False
        if isinstance(operation, PutOperation):
            self._awaiting.discard(operation, operation.ticket)
        return True

    def await_ticket(self, operation: PutOperation, ticket: int) -> None:
        """It waits for this ticket, and for no earlier one."""
        if ticket != operation.ticket and operation.number in self._by_number:
            self._awaiting.discard(operation, operation.ticket)
            self._awaiting.add(operation, ticket)

    def take_answered(self, ticket: int) -> Iterator[PutOperation]:
        """Those whose tickets this answer covers; they wait no longer."""
        return self._awaiting.take(ticket)

    def arm(self, operation: Operation, when: float) -> None:
        """It has something to do then, besides what it had before."""
        if operation.number not in self._by_number:
            return
        heapq.heappush(self._timers, (when, operation.number))
        if len(self._timers) > 2 * len(self._by_number) + STALE_TIMERS:
            self._timers = [timer for timer in self._timers if timer[1] in self._by_number]
            heapq.heapify(self._timers)

    def next_timer(self) -> float:
        """When the first has something to do; infinity: never."""
        timers = self._timers
        while timers and timers[0][1] not in self._by_number:
            heapq.heappop(timers)
        return timers[0][0] if timers else inf

    def take_due(self, now: float) -> Iterator[Operation]:
        """Those that have something to do now, once for each time they were armed."""
        while self._timers and self._timers[0][0] <= now:
            operation = self._by_number.get(heapq.heappop(self._timers)[1])
            if operation is not None:
                yield operation
