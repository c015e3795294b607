"""Own offers that are due: a queue, of which the front can be put in the order of the keys for a sweep."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fastmarket.offers.model.offer import Offer, OfferKey


class OwnState(Enum):
    """Where an own offer is between its announcements."""

    WAITING = "waiting"  # from the end of an announcement until the next is due
    QUEUED = "queued"  # due; waits for room among the announcements in progress
    ANNOUNCING = "announcing"  # handed out; its outcome has not been reported


@dataclass(slots=True)
class AnnouncedOffer:
    """An own offer: its current version, and how it stands with its announcement."""

    offer: Offer
    state: OwnState
    due: float  # 0: not among the due times
    place: int  # in the key space
    failures: int = 0  # consecutive announcements that missed the quorum or reached no peer
    copies: int = 0  # other nodes that held it after the last announcement
    neighbours: int = 0  # size of the routing table when that began


class OwnQueue:
    """Keys of offers that are due, first come, first served. One that was registered again while it waited,
    or has expired, is passed over when its turn comes."""

    __slots__ = ("_keys", "_own", "sorted_count")

    def __init__(self, own: Mapping[OfferKey, AnnouncedOffer]) -> None:
        self._own = own
        self._keys: deque[OfferKey] = deque()
        self.sorted_count = 0
        """So many at the front are in the order of their keys."""

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: OfferKey, own: AnnouncedOffer) -> None:
        """It is due."""
        own.state = OwnState.QUEUED
        self._keys.append(key)

    def take(self) -> AnnouncedOffer | None:
        """The first one; None: it is passed over."""
        own = self._own.get(self._keys.popleft())
        self.sorted_count = max(self.sorted_count - 1, 0)
        return own if own is not None and own.state is OwnState.QUEUED else None

    def sort(self, most: int) -> None:
        """Puts that many at the front in the order of their keys, for the next sweeps."""
        waiting = self._keys
        keys = dict.fromkeys(waiting.popleft() for _ in range(min(len(waiting), most)))
        queued = [own for key in keys if (own := self._own.get(key)) and own.state is OwnState.QUEUED]
        queued.sort(key=lambda own: own.place)
        waiting.extendleft(own.offer.key for own in reversed(queued))
        self.sorted_count = len(queued)
