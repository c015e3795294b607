"""Who may be connected: so many in all, and so many from one address."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Protocol


class PortAdmission(Enum):
    """What becomes of a new connection."""

    SERVED = "served"
    TURNED_AWAY = "turned away"  # may ask once, and is told to come later
    CLOSED = "closed"


class Visitor(Protocol):
    """A connection, as the entrance sees it."""

    @property
    def address(self) -> str:
        """Its address, or block of addresses."""

    @property
    def is_busy(self) -> bool:
        """Whether it has a request in progress."""

    @property
    def was_served(self) -> bool:
        """Whether it has completed a request."""

    def make_room(self) -> None:
        """Ends it at once."""


class Entrance:
    """The connections of one port. When it is full, one without a request in progress is closed for a new
    one: of the address with the most connections, preferably one that has not completed a request, and of
    those the oldest. If all are busy, a few more may ask, to be told to come later."""

    def __init__(self, max_connections: int, max_per_address: int, max_turned_away: int) -> None:
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._max_turned_away = max_turned_away
        self._inside: dict[Visitor, None] = {}  # in order of arrival
        self._turned_away: dict[Visitor, None] = {}
        self._per_address: Counter[str] = Counter()  # of those inside

    def __len__(self) -> int:
        return len(self._inside) + len(self._turned_away)

    def enter(self, visitor: Visitor) -> PortAdmission:
        """Decides; whoever is not CLOSED has to `leave` in the end."""
        full = len(self._inside) >= self._max_connections
        crowded = self._per_address[visitor.address] >= self._max_per_address
        if not (full or crowded) or self._make_room(visitor.address if crowded else None):
            self._inside[visitor] = None
            self._per_address[visitor.address] += 1
            return PortAdmission.SERVED
        if len(self._turned_away) >= self._max_turned_away:
            return PortAdmission.CLOSED
        self._turned_away[visitor] = None
        return PortAdmission.TURNED_AWAY

    def leave(self, visitor: Visitor) -> None:
        """Removes a connection; harmless if it has left."""
        if visitor in self._turned_away:
            del self._turned_away[visitor]
        elif visitor in self._inside:
            del self._inside[visitor]
            self._per_address[visitor.address] -= 1
            if not self._per_address[visitor.address]:
                del self._per_address[visitor.address]

    def _make_room(self, address: str | None) -> bool:
        """Closes one connection, of that address or any; False if all have requests in progress."""
        idle = [one for one in self._inside if not one.is_busy and address in (None, one.address)]
        if not idle:
            return False
        leaving = min(idle, key=lambda one: (-self._per_address[one.address], one.was_served))
        leaving.make_room()
        self.leave(leaving)
        return True
