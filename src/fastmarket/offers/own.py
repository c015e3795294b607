"""Own offers: each is announced, renewed and announced again for as long as the node lives."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fastmarket.config import OfferConfig
from fastmarket.errors import Busy, CallerFault
from fastmarket.formats.identity import Identity
from fastmarket.offers.model import Offer, OfferKey, OfferTerms, sign_offer
from fastmarket.offers.store import OfferStore
from fastmarket.offers.views import StoreOutcome

# More stale entries than live ones, and at least so many: the heap of due times is made anew.
STALE_DUES = 256
MAX_DOUBLINGS = 20  # of the back-off; far beyond any useful longest one


class _State(Enum):
    WAITING = "waiting"  # from the end of an announcement until the next is due
    QUEUED = "queued"  # due, until there is room among the announcements under way
    ANNOUNCING = "announcing"  # handed out, until its outcome is reported


@dataclass(slots=True)
class _Own:
    offer: Offer
    terms: OfferTerms
    state: _State
    due: float
    failures: int = 0  # announcements in a row that missed their quorum or met nobody
    copies: int = 0  # other nodes that had it after the last announcement
    neighbours: int = 0  # size of the routing table when that began


class OwnOffers:
    """The schedule. Give it time (`handle_timer`), the table's size and the outcomes; take due offers.

    A failed or lonely announcement is repeated after a back-off, one that met its quorum after the interval.
    An offer that fewer than `replication` nodes hold is also announced when the table has grown since: what
    was registered before the network was there, or while it was small, spreads as it grows.
    A withdrawn one stays as the tombstone, announced like an offer but never renewed, until the last version
    that anybody could hold has expired.
    """

    def __init__(self, config: OfferConfig, identity: Identity, store: OfferStore, replication: int) -> None:
        self._config = config
        self._identity = identity
        self._store = store
        self._replication = replication
        self._own: dict[OfferKey, _Own] = {}
        self._thin: set[OfferKey] = set()
        self._dues: list[tuple[float, OfferKey]] = []
        self._queue: deque[OfferKey] = deque()
        self._under_way: set[tuple[OfferKey, int]] = set()
        self._neighbours = 0
        self._grown_at: float | None = None
        self._withdrawn = 0

    def __len__(self) -> int:
        return len(self._own) - self._withdrawn

    def __iter__(self) -> Iterator[Offer]:
        return (own.offer for own in self._own.values() if not own.offer.withdrawn)

    def current(self, key: OfferKey) -> Offer | None:
        """The latest version, a tombstone too."""
        own = self._own.get(key)
        return own.offer if own else None

    def register(self, terms: OfferTerms, now: float) -> Offer:
        """Signs and stores an offer that the caller announces at once and then reports on (`announced`).

        Raises `Busy` when `max_own_offers`, tombstones included, are kept alive already.
        """
        key = self._key(terms.content, terms.user_id)
        known = self._own.get(key)
        if known is None and len(self._own) >= self._config.max_own_offers:
            raise Busy("offers", f"this node announces {self._config.max_own_offers} already")
        offer = self._sign(terms, known.offer if known else self._store.get(key), now)
        self._begin(offer, terms, now)
        return offer

    def withdraw(self, content: bytes, user_id: bytes, now: float) -> Offer:
        """Puts a tombstone in the place of an own offer; the caller announces it at once and reports on it.

        Withdrawing again announces the same tombstone again. Raises `CallerFault`: no such own offer.
        """
        own = self._own.get(self._key(content, user_id))
        if own is None or own.offer.not_after <= now:
            raise CallerFault("content", "this node has no such offer")
        offer, terms = own.offer, own.terms
        if not offer.withdrawn:
            offer = sign_offer(self._identity, terms, now, previous=offer, withdrawn=True)
            self._store.add(offer, now, own=True)
        self._begin(offer, terms, now)
        return offer

    def _key(self, content: bytes, user_id: bytes) -> OfferKey:
        return (content, self._identity.peer_id.raw, user_id)

    def _begin(self, offer: Offer, terms: OfferTerms, now: float) -> None:
        """An announcement by the caller. Should no outcome ever come, the interval makes up for it."""
        key, due = offer.key, now + self._config.announce_interval_s
        known = self._own.get(key)
        self._withdrawn += offer.withdrawn - (known is not None and known.offer.withdrawn)
        if known is None:
            known = self._own[key] = _Own(offer, terms, _State.ANNOUNCING, due)
        known.offer, known.terms, known.state, known.failures = offer, terms, _State.ANNOUNCING, 0
        known.neighbours = self._neighbours
        self._schedule(key, due)

    def announced(self, offer: Offer, outcome: StoreOutcome | None, now: float) -> None:
        """How the announcement of `offer` ended; None: it could not be made."""
        key = offer.key
        self._under_way.discard((key, offer.seq))
        own = self._own.get(key)
        if own is None or own.offer.seq != offer.seq:
            return
        own.state = _State.WAITING
        own.copies = outcome.copies if outcome else 0
        if outcome is not None and outcome.reached and outcome.copies:
            own.failures = 0
            wait = self._config.announce_interval_s
        else:
            wait = min(self._config.retry_longest_s, self._config.retry_first_s * 2**own.failures)
            own.failures = min(own.failures + 1, MAX_DOUBLINGS)
        if own.copies < self._replication:
            self._thin.add(key)
            if own.neighbours < self._neighbours and self._grown_at is None:
                self._grown_at = now
        else:
            self._thin.discard(key)
        self._schedule(key, now + wait)

    def neighbours(self, count: int, now: float) -> None:
        """The size of the routing table, whenever it changes."""
        if count > self._neighbours and self._thin and self._grown_at is None:
            self._grown_at = now
        self._neighbours = count

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        grown = None if self._grown_at is None else self._grown_at + self._config.settle_s
        while self._dues and self._put_off(*self._dues[0]):
            heapq.heappop(self._dues)
        due = self._dues[0][0] if self._dues else None
        return min((when for when in (grown, due) if when is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Queues what is due."""
        if self._grown_at is not None and self._grown_at + self._config.settle_s <= now:
            self._grown_at = None
            for key in self._thin:
                own = self._own[key]
                if own.state is _State.WAITING and own.neighbours < self._neighbours:
                    self._enqueue(key, own)
        while self._dues and self._dues[0][0] <= now:
            due, key = heapq.heappop(self._dues)
            if self._put_off(due, key):
                continue
            own = self._own[key]
            if own.offer.withdrawn and own.offer.not_after <= now:
                self._forget(key)
            elif own.state is not _State.QUEUED:
                self._enqueue(key, own)

    def take_due(self, now: float) -> list[Offer]:
        """Offers to announce now, renewed where it is time; no more than may be under way at once."""
        offers = []
        while self._queue and len(self._under_way) < self._config.max_announcing:
            key = self._queue.popleft()
            own = self._own.get(key)
            if own is None or own.state is not _State.QUEUED:
                continue  # registered anew while it waited, or over
            own.state, own.neighbours = _State.ANNOUNCING, self._neighbours
            renewable = not own.offer.withdrawn
            if renewable and own.offer.issued_at + self._config.announce_interval_s / 2 <= now:
                own.offer = self._sign(own.terms, own.offer, now)
            self._under_way.add((key, own.offer.seq))
            self._schedule(key, now + self._config.announce_interval_s)
            offers.append(own.offer)
        return offers

    def _sign(self, terms: OfferTerms, previous: Offer | None, now: float) -> Offer:
        lifetime_s = self._config.lifetime_s
        offer = sign_offer(self._identity, terms, now, previous=previous, lifetime_s=lifetime_s)
        self._store.add(offer, now, own=True)
        return offer

    def _enqueue(self, key: OfferKey, own: _Own) -> None:
        own.state = _State.QUEUED
        self._queue.append(key)

    def _put_off(self, due: float, key: OfferKey) -> bool:
        """Whether this entry of the heap counts no more."""
        own = self._own.get(key)
        return own is None or own.due != due

    def _forget(self, key: OfferKey) -> None:
        """A tombstone whose time is over."""
        del self._own[key]
        self._thin.discard(key)
        self._withdrawn -= 1

    def _schedule(self, key: OfferKey, due: float) -> None:
        own = self._own[key]
        if own.offer.withdrawn:
            due = min(due, own.offer.not_after)
        own.due = due
        heapq.heappush(self._dues, (due, key))
        if len(self._dues) > 2 * len(self._own) + STALE_DUES:
            self._dues = [(own.due, key) for key, own in self._own.items()]
            heapq.heapify(self._dues)
