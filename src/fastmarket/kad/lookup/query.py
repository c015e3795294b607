"""What a lookup is given: how to ask a peer, and how to read its answer.

Kademlia knows no offers: whoever owns a protocol supplies an `Query` for it, and a `PutRequest` where
something is to be put on the peers found.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from fastmarket.errors import CallerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo


class Answer:
    """One peer's reply: peers it knows nearer to the target, and what it holds."""

    __slots__ = ("closer", "items", "stop")

    def __init__(
        self, closer: tuple[PeerInfo, ...] = (), items: tuple[object, ...] = (), stop: bool = False
    ) -> None:
        self.closer = closer
        self.items = items
        self.stop = stop  # enough is known: the lookup need not go on


class Query:
    """The question a lookup puts to every peer it meets."""

    __slots__ = ("seeks_peers",)

    def __init__(self, seeks_peers: bool) -> None:
        """`seeks_peers`: only who is closest is wanted, not what they hold: who is known to be alive need not
        be asked."""
        self.seeks_peers = seeks_peers

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The request, in each protocol that would do, the preferred one first."""
        raise NotImplementedError

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """The reply's meaning. Raises PeerFault when it breaks a rule."""
        raise NotImplementedError


class PutRequest(Protocol):
    """What a `PutJob` leaves with the closest peers."""

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """The request for a peer that answered the lookup on `answered_protocol`; empty: leave it out.

        None: it has not answered, and the request must suit whatever it speaks.
        """

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        """Whether this peer's acknowledgement counts towards the quorum; None: whether it may."""

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """Whether the reply says stored; None: it does not count after all. May raise PeerFault."""

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """Why that peer said no, for people; and whether it will say so again however often it is asked."""

    def quorum_size(self, counting_peers: int) -> int:
        """How many acknowledgements make a quorum of that many counting peers."""


class Quorum(Enum):
    """How many of the peers asked must agree."""

    ONE = "one"  # any one other node
    MAJORITY = "majority"  # more than half of those asked; nobody there: none
    ALL = "all"  # every peer asked


def quorum_size(quorum: Quorum | int, peers: int) -> int:
    """Acknowledgements wanted of `peers`. An exact number stays as it is, whether or not so many exist."""
    if isinstance(quorum, int):
        return quorum
    if quorum is Quorum.ONE:
        return 1
    return peers if quorum is Quorum.ALL else (peers // 2 + 1 if peers else 0)


def check_quorum(quorum: Quorum | int) -> None:
    """Raises CallerFault for a number below 1."""
    if isinstance(quorum, int) and quorum < 1:
        raise CallerFault("quorum", f"expects at least 1, got {quorum}")
