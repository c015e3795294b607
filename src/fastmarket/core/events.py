"""A node's actions for its driver, its events, and the events of peers that the driver reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.store.changes import AnyChange

# --- actions


class Persist(NamedTuple):
    """Make these changes of the offer store durable, in this order and after all earlier ones.

    `NodeCore.handle_persisted` answers with the same `ticket`. An answer without a fault means that these and
    all earlier changes would survive SIGKILL and power loss.
    """

    changes: Sequence[AnyChange]
    ticket: int


Action: TypeAlias = SendRequest | Persist

# --- events


class Progress(NamedTuple):
    """An item of progress of a running operation."""

    operation: int
    item: object


class Finished(NamedTuple):
    """The last event of an operation: the `outcome` of a put, the `result` of a lookup, or the `fault` that
    ended it."""

    operation: int
    outcome: Outcome | None = None
    result: object = None
    fault: Exception | None = None


class JobEnded(NamedTuple):
    """A lookup or an announcement ended, possibly one of the node's own: for metrics and traces.

    `tag` is that of the operation it ran for, None if it served several or none. `result` is the complete
    result, which for an announcement is known long after the quorum.
    """

    kind: str
    lookup: Lookup | None
    took_s: float
    tag: object
    result: object


class BugFound(NamedTuple):
    """A bug of this program, which affected only what `place` names."""

    place: str
    error: Exception


class AnnouncingPostponed(NamedTuple):
    """Offers cannot be announced now; the node will try again."""

    fault: Exception


class ClockDiffers(NamedTuple):
    """Several peers report that this node's clock is `offset_s` ahead of theirs (negative: behind)."""

    offset_s: float


class OffersRefused(NamedTuple):
    """Number of offers of other nodes refused because of the times in them."""

    refused: int


class KnownAs(NamedTuple):
    """A peer told the addresses it has for this node's id."""

    peer: PeerInfo


Event: TypeAlias = (
    Progress | Finished | JobEnded | BugFound | AnnouncingPostponed | ClockDiffers | OffersRefused | KnownAs
)

# --- events of peers, from the driver


class PeerIdentified(NamedTuple):
    """A connected peer identified itself; `peer.addrs` are the listen addresses of its identify message."""

    peer: PeerInfo
    protocols: frozenset[str]


class PeerDisconnected(NamedTuple):
    """The last connection to the peer ended."""

    peer_id: PeerId


class PeerUnreachable(NamedTuple):
    """No address of the peer could be dialed."""

    peer_id: PeerId


class PeerAnswered(NamedTuple):
    """Duration of a connection's first answer: so the round trip is known before the first request."""

    peer_id: PeerId
    took_s: float


PeerEvent: TypeAlias = PeerIdentified | PeerDisconnected | PeerUnreachable | PeerAnswered
