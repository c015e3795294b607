"""Which changes of the offer store are durable, by the tickets of the `Persist` actions that carry them."""

from __future__ import annotations

from enum import Enum


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
