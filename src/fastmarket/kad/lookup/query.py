"""What a lookup is given: how to query a peer, and how to read its answer.

Kademlia knows no offers: a protocol supplies a `Query` of its own, and a `PutRequest` if something is to be
stored at the peers found.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from fastmarket.errors import CallerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo


class Answer:
    """One peer's answer: peers it knows closer to the target, and the items it holds."""

    __slots__ = ("closer", "items", "stop")

    def __init__(
        self, closer: tuple[PeerInfo, ...] = (), items: tuple[object, ...] = (), stop: bool = False
    ) -> None:
        self.closer = closer
        self.items = items
        self.stop = stop  # the query is satisfied: the lookup ends


class Query:
    """What a lookup asks every peer it meets."""

    __slots__ = ("seeks_peers", "spans_region")

    def __init__(self, seeks_peers: bool, spans_region: bool = True) -> None:
        """`seeks_peers`: the closest peers are wanted, not what they hold, so a peer known to be alive need
        not be queried. `spans_region`: it is about what is stored, so it asks every peer of the region in
        which that lies (`kad.lookup.region`)."""
        self.seeks_peers = seeks_peers
        self.spans_region = spans_region

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The request in each suitable protocol, the preferred one first."""
        raise NotImplementedError

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """The meaning of the reply. Raises PeerFault if it breaks a rule."""
        raise NotImplementedError


class PutRequest(Protocol):
    """What a `PutJob` stores at the closest peers."""

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """The request for a peer that answered the lookup on `answered_protocol`; empty: nothing is stored
        there.

        None: the peer has not answered yet, and the request must suit every protocol it may speak.
        """

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        """Whether the acknowledgement of this peer counts towards the quorum; for None, whether it may."""

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """Whether the reply says that it was stored; None: it does not count after all. May raise
        PeerFault."""

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """Why the peer refused, for people, and whether that is final, however often it is asked."""

    def quorum_size(self, counting_peers: int) -> int:
        """The quorum of so many counting peers."""


class Quorum(Enum):
    """How many of the queried peers must agree."""

    ONE = "one"  # any one other node
    MAJORITY = "majority"  # more than half of those queried; of none: 0
    ALL = "all"  # every queried peer


def quorum_size(quorum: Quorum | int, peers: int) -> int:
    """The quorum of `peers`. An exact number stays as it is, even if there are fewer peers."""
    if isinstance(quorum, int):
        return quorum
    if quorum is Quorum.ONE:
        return 1
    return peers if quorum is Quorum.ALL else (peers // 2 + 1 if peers else 0)


def check_quorum(quorum: Quorum | int) -> None:
    """Raises CallerFault for a number below 1."""
    if isinstance(quorum, int) and quorum < 1:
        raise CallerFault("quorum", f"expects at least 1, got {quorum}")
