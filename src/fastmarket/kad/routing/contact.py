"""One entry of the routing table, and how far it is trusted."""

from __future__ import annotations

from enum import Enum, auto

from fastmarket._kbucket import ContactState
from fastmarket.formats.peer_info import PeerInfo


class Trust(Enum):
    """Whether an entry may be passed on to others.

    An identified peer is alive, but it is unknown whether it answers, or can be dialled at all.
    """

    # Just identified, and passed on, so that peers which join at the same time find each other. Left for
    # PROVEN when the peer answers, for DOUBTFUL when it has not been queried for long.
    FRESH = auto()
    # Not passed on: it has been silent, or waited long in the replacement cache. Left for PROVEN, or the
    # table.
    DOUBTFUL = auto()
    PROVEN = auto()  # it has answered a request since it entered; never left


# To ask the class for them costs more than all else that a setting of `Contact.trust` does (CPython 3.11).
_DOUBTFUL, _PROVEN = Trust.DOUBTFUL, Trust.PROVEN


class Contact(ContactState):
    """A peer in the table. `encoded` is its closerPeers entry with its tag, rebuilt when addresses change.

    `seen`: its last reply, request or identification; `failures`: consecutive failed requests, the first of
    them at `failed_at`. These fields belong to the compiled class, in which the table reads and writes them.
    """

    __slots__ = ("_trust", "group", "info")

    def __init__(
        self, info: PeerInfo, encoded: bytes, now: float, group: bytes | None, trust: Trust = Trust.FRESH
    ) -> None:
        """`group`: the address block (formats.scope.ip_group); peers of one block share the bytes object."""
        self.info = info
        self.encoded = encoded
        self.group = group
        self.trust = trust
        self.seen = now

    @property
    def trust(self) -> Trust:
        """Whether the entry is passed on."""
        return self._trust

    @trust.setter
    def trust(self, trust: Trust) -> None:
        self._trust = trust
        self.hidden = trust is _DOUBTFUL
        self.proven = trust is _PROVEN
