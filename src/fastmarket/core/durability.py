"""Which changes of the offer store are durable, by the tickets of the `Persist` actions that carry them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Durability(Enum):
    """How it stands with the changes up to a ticket."""

    PENDING = "pending"  # no answer so far
    DURABLE = "durable"  # they would survive SIGKILL and power loss; also where nothing is kept
    FAILED = "failed"  # they could not be written; they may be later, but nobody is promised that


class Tickets:
    """Numbers for `Persist` actions, and what is known of each.

    An answer speaks for all changes up to its ticket: those are written in order. So two numbers are enough.
    """

    __slots__ = ("_durable", "_failed", "_last", "_own", "fault")

    def __init__(self) -> None:
        self._last = 0
        self._own = 0  # the last that carried changes of own offers
        self._durable = 0
        self._failed = 0
        self.fault = ""
        """Why the last that failed could not be written."""

    def issue(self, *, own: bool) -> int:
        """The ticket of the next action; `own`: it carries changes of own offers."""
        self._last += 1
        if own:
            self._own = self._last
        return self._last

    def awaited(self, *, pending: bool) -> int:
        """The ticket that covers all changes of own offers so far; `pending`: some are not in an action
        yet."""
        return self._last + 1 if pending else self._own

    def answer(self, ticket: int, fault: str) -> None:
        """The outcome of an action; `fault` is empty where it is durable."""
        if not fault:
            self._durable = max(self._durable, ticket)
        elif ticket >= self._failed:
            self._failed, self.fault = ticket, fault

    def state(self, ticket: int) -> Durability:
        """Of the changes up to a ticket."""
        if ticket <= self._durable:
            return Durability.DURABLE
        return Durability.FAILED if ticket <= self._failed else Durability.PENDING


class Waiting(Generic[T]):
    """Those that wait for tickets, each for the last it was given. Tickets are given in ascending order."""

    __slots__ = ("_by_ticket",)

    def __init__(self) -> None:
        self._by_ticket: OrderedDict[int, dict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._by_ticket.values()))

    def add(self, one: T, ticket: int) -> None:
        """It waits for this ticket, and for none before."""
        self._by_ticket.setdefault(ticket, {})[one] = None

    def discard(self, one: T, ticket: int) -> None:
        """It waits no longer: a disk that hangs is no reason to hold what has been given up."""
        group = self._by_ticket.get(ticket)
        if group is not None:
            group.pop(one, None)
            if not group:
                del self._by_ticket[ticket]

    def take(self, ticket: int) -> Iterator[T]:
        """Those whose tickets are answered with this one."""
        waiting = self._by_ticket
        while waiting and next(iter(waiting)) <= ticket:
            yield from waiting.popitem(last=False)[1]
