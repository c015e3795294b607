"""Which changes of the offer store are durable, tracked by the tickets of `Persist` actions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Durability(Enum):
    """State of the changes up to a ticket."""

    PENDING = "pending"  # no answer yet
    DURABLE = "durable"  # would survive SIGKILL and power loss; also if nothing is persisted
    FAILED = "failed"  # not written; a later write is possible, but not promised


class Tickets:
    """Numbers `Persist` actions and keeps their state.

    Changes are written in order, so an answer covers all changes up to its ticket, and two numbers are
    enough.
    """

    __slots__ = ("_durable", "_failed", "_last", "_own", "fault")

    def __init__(self) -> None:
        self._last = 0
        self._own = 0  # the last ticket with changes of own offers
        self._durable = 0
        self._failed = 0
        self.fault = ""
        """Why the last failed write failed."""

    def issue(self, *, own: bool) -> int:
        """The ticket of the next action; `own`: it contains changes of own offers."""
        self._last += 1
        if own:
            self._own = self._last
        return self._last

    def awaited(self, *, pending: bool) -> int:
        """The ticket that covers all changes of own offers so far; `pending`: some are not in an action
        yet."""
        return self._last + 1 if pending else self._own

    def answer(self, ticket: int, fault: str) -> None:
        """Takes the answer to an action; `fault` is empty if it is durable."""
        if not fault:
            self._durable = max(self._durable, ticket)
        elif ticket >= self._failed:
            self._failed, self.fault = ticket, fault

    def state(self, ticket: int) -> Durability:
        """State of the changes up to a ticket."""
        if ticket <= self._durable:
            return Durability.DURABLE
        return Durability.FAILED if ticket <= self._failed else Durability.PENDING


class Waiting(Generic[T]):
    """Waiters for tickets, each under the last ticket it was given. Tickets are given in ascending order."""

    __slots__ = ("_by_ticket",)

    def __init__(self) -> None:
        self._by_ticket: OrderedDict[int, dict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._by_ticket.values()))

    def add(self, one: T, ticket: int) -> None:
        """Adds a waiter for this ticket, and no earlier one."""
        self._by_ticket.setdefault(ticket, {})[one] = None

    def discard(self, one: T, ticket: int) -> None:
        """Removes a waiter: a hanging disk must not keep operations that have been given up."""
        group = self._by_ticket.get(ticket)
        if group is not None:
            group.pop(one, None)
            if not group:
                del self._by_ticket[ticket]

    def take(self, ticket: int) -> Iterator[T]:
        """Removes and returns the waiters whose tickets this answer covers."""
        waiting = self._by_ticket
        while waiting and next(iter(waiting)) <= ticket:
            yield from waiting.popitem(last=False)[1]
