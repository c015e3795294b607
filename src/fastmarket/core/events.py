"""What a node asks of its driver (actions), what it reports (events), and what the driver tells of peers."""

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

    Answered by `NodeCore.handle_persisted` with the same `ticket`. An answer without a fault says that these
    and all earlier changes would survive SIGKILL and power loss.
    """

    changes: Sequence[AnyChange]
    ticket: int


Action: TypeAlias = SendRequest | Persist

# --- events


class Progress(NamedTuple):
    """An operation found something and goes on."""

    operation: int
    item: object


class Finished(NamedTuple):
    """The last event of an operation: its `outcome` where something was put, what it found in `result`, or
    the `fault` that ended it."""

    operation: int
    outcome: Outcome | None = None
    result: object = None
    fault: Exception | None = None


class JobEnded(NamedTuple):
    """A lookup or an announcement ended, one of the node's own among them: for metrics and traces.

    `tag` is that of the operation it ran for, None where it served several or none. `result` is the whole of
    what it came to, which for an announcement is known long after the quorum.
    """

    kind: str
    lookup: Lookup | None
    took_s: float
    tag: object
    result: object


class BugFound(NamedTuple):
    """An error of this program, which cost what `place` names."""

    place: str
    error: Exception


class AnnouncingPostponed(NamedTuple):
    """Offers cannot be announced now; they are tried again."""

    fault: Exception


class ClockDiffers(NamedTuple):
    """Several peers say that this node's clock is `offset_s` ahead of theirs (negative: behind)."""

    offset_s: float


class OffersRefused(NamedTuple):
    """This node refused so many offers of others for their times."""

    refused: int


class KnownAs(NamedTuple):
    """A peer told which addresses it knows for this node's id."""

    peer: PeerInfo


Event: TypeAlias = (
    Progress | Finished | JobEnded | BugFound | AnnouncingPostponed | ClockDiffers | OffersRefused | KnownAs
)

# --- what the driver tells of peers


class PeerIdentified(NamedTuple):
    """A connected peer said what it is; `peer.addrs` are the listen addresses out of identify."""

    peer: PeerInfo
    protocols: frozenset[str]


class PeerDisconnected(NamedTuple):
    """The last connection to the peer ended."""

    peer_id: PeerId


class PeerUnreachable(NamedTuple):
    """No address of the peer could be dialed."""

    peer_id: PeerId


class PeerAnswered(NamedTuple):
    """A connection's first answer took so long: the round trip is known before the first request."""

    peer_id: PeerId
    took_s: float


PeerEvent: TypeAlias = PeerIdentified | PeerDisconnected | PeerUnreachable | PeerAnswered
