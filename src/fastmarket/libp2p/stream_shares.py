"""Who may have streams of a protocol that a program handles, and how long without a whole message. Sans-IO.

Such a stream costs more than a responder's (a task, its events, a decoder), and lives for as long as its peer
wants: a byte a minute keeps it from being idle.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastmarket.errors import LimitExceeded
from fastmarket.formats.identity import PeerId

_STRANGERS_PART: Final = 0.75
"""Of all streams of a protocol, and of a block's: the rest is for peers that are known to deserve it."""


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """Bounds of the inbound streams of one protocol."""

    per_peer: int = 256
    """Open at once, over all connections of a peer."""

    per_block: int = 1024
    """The same of an address block (IPv4 /16, IPv6 /32); this machine and private networks have none."""

    total: int = 4096
    """The same of all peers."""

    message_s: float = 0.0
    """A stream that brings no whole message for so many seconds is reset; 0: only one without traffic is."""


def _nobody_is_known(peer: PeerId) -> bool:
    return False


class StreamPlace:
    """The place of one stream."""

    __slots__ = ("block", "due", "peer", "shares")

    def __init__(self, shares: StreamShares, peer: PeerId, block: bytes | None) -> None:
        self.shares = shares
        self.peer = peer
        self.block = block
        self.due = 0.0
        """When it is reset unless a whole message has come."""


class StreamShares:
    """The places of inbound streams of one protocol, in all its versions."""

    __slots__ = ("_blocks", "_is_known", "_peers", "_places", "_protocol", "bounds")

    def __init__(
        self,
        protocol: str,
        bounds: StreamBounds | None = None,
        is_known: Callable[[PeerId], bool] = _nobody_is_known,
    ) -> None:
        """`is_known`: whether a peer is no stranger; by default all are."""
        self._protocol = protocol
        self.bounds = StreamBounds() if bounds is None else bounds
        self._is_known = is_known
        self._places: OrderedDict[StreamPlace, None] = OrderedDict()  # due first
        self._peers: Counter[PeerId] = Counter()
        self._blocks: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, peer: PeerId, block: bytes | None, now: float) -> StreamPlace:
        """Takes a place. Raises LimitExceeded; strangers are refused first."""
        bounds, part = self.bounds, 1.0 if self._is_known(peer) else _STRANGERS_PART
        for what, held, most in (
            ("streams of a peer", self._peers[peer], bounds.per_peer),
            ("streams of a block", 0 if block is None else self._blocks[block], int(bounds.per_block * part)),
            ("streams in all", len(self._places), int(bounds.total * part)),
        ):
            if held >= most:
                raise LimitExceeded(what, most, protocol=self._protocol)
        place = StreamPlace(self, peer, block)
        self._peers[peer] += 1
        if block is not None:
            self._blocks[block] += 1
        self._places[place] = None
        self.progressed(place, now)
        return place

    def progressed(self, place: StreamPlace, now: float) -> None:
        """A whole message has come."""
        if place in self._places:
            place.due = now + self.bounds.message_s
            self._places.move_to_end(place)

    def leave(self, place: StreamPlace) -> None:
        """Gives the place back. Harmless if it was."""
        if self._places.pop(place, self) is self:
            return
        self._peers[place.peer] -= 1
        if not self._peers[place.peer]:
            del self._peers[place.peer]
        if place.block is not None:
            self._blocks[place.block] -= 1
            if not self._blocks[place.block]:
                del self._blocks[place.block]

    def next_timer(self) -> float | None:
        """When `take_overdue` has something to return."""
        if not self._places or not self.bounds.message_s:
            return None
        return next(iter(self._places)).due

    def take_overdue(self, now: float) -> list[StreamPlace]:
        """Those without a whole message for too long; they have left."""
        overdue: list[StreamPlace] = []
        while (due := self.next_timer()) is not None and due <= now:
            place = next(iter(self._places))
            self.leave(place)
            overdue.append(place)
        return overdue
