"""One peer of the routing table, and how far its entry is trusted."""

from __future__ import annotations

from enum import Enum, auto

from fastmarket._kbucket import ContactState
from fastmarket.formats.peer_info import PeerInfo


class Trust(Enum):
    """Whether an entry may be told to others.

    An identified peer lives, but nobody knows yet whether it answers, or can be dialled at all.
    """

    # Identified just now, and told to others: so those who join at once find each other. Left for PROVEN when
    # it answers, for DOUBTFUL when it has not been asked for long.
    FRESH = auto()
    # Not told to others: it has been silent, or waited long for its place. Left for PROVEN, or the table.
    DOUBTFUL = auto()
    PROVEN = auto()  # it has answered a request of ours since it came in; stays so while it is an entry


# To ask the class for them costs more than all else that a setting of `Contact.trust` does (CPython 3.11).
_DOUBTFUL, _PROVEN = Trust.DOUBTFUL, Trust.PROVEN


class Contact(ContactState):
    """A peer of the table. `encoded` is its closerPeers entry with its tag, rebuilt when addresses change.

    `seen`: its last reply, request or identification; `failures`: failed requests in a row, the first of them
    at `failed_at`. These lie in the compiled class, where the table reads and writes them.
    """

    __slots__ = ("_trust", "group", "info")

    def __init__(
        self, info: PeerInfo, encoded: bytes, now: float, group: bytes | None, trust: Trust = Trust.FRESH
    ) -> None:
        """`group`: the address block (formats.scope.ip_group); peers of one share the bytes."""
        self.info = info
        self.encoded = encoded
        self.group = group
        self.trust = trust
        self.seen = now

    @property
    def trust(self) -> Trust:
        """Whether others are told of it."""
        return self._trust

    @trust.setter
    def trust(self, trust: Trust) -> None:
        self._trust = trust
        self.hidden = trust is _DOUBTFUL
        self.proven = trust is _PROVEN
