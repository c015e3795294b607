"""Hands offers over to peers that came since they were announced, and are to hold them by now.

An announcement goes to the peers closest to the content at that time. Those leave in the course of the hours
until the next one, and others come. So when a peer comes near, a few of those that hold the offers it should
have give them to it; they are signed, so it need not trust who brings them. Tombstones go along: a storer
that slept through a withdrawal hears of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from fastmarket.config import OfferConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey, kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.native.candidates import Answered
from fastmarket.offers.announce.coverage import PLACE_BITS, place
from fastmarket.offers.announce.delivery import Deliveries
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.store.store_index import PREFIX_BITS

# Within the subtree of a newcomer's k closest it is wanted for most keys; beyond, where peers are sparse: in
# four times as much of the key space nearly all keys are met that it is wanted for.
_SPARSE_BITS = 2

# The peers known closest to a 32-byte key, closest first.
Closest = Callable[[KadKey, int], list[PeerId]]


class HandoverJob(Job):
    """STORE of some offers to one peer, a message at a time. Its result is how many it acknowledged."""

    def __init__(self, peer: PeerInfo, offers: list[Offer], deliveries: Deliveries, protocol: str) -> None:
        self.result = None
        self._parcels = list(deliveries.parcels(offers))
        self._deliveries = deliveries
        self._token = 0
        for parcel in self._parcels:
            deliveries.add(parcel, [Answered(peer, protocol)], unknown=False)

    @property
    def finished(self) -> bool:
        """Everything was answered, or the peer failed."""
        return self.result is not None

    def start(self, now: float) -> None:
        """Nothing is sent before the first poll."""

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The next message."""
        if self.result is not None:
            return []
        requests = list(self._deliveries.poll(eager=True, token=self._next_token))
        if not requests and not self._deliveries.busy:
            self.result = self._acknowledged()
        return requests

    def reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Acknowledgements; raises PeerFault."""
        self._deliveries.reply(token, protocol, payload, now)

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """A peer that fails once is not bothered with the rest."""
        self._deliveries.stop()

    def next_timer(self) -> float | None:
        """The shell ends each request."""
        return None

    def handle_timer(self, now: float) -> None:
        """Nothing waits for time."""

    def poll_events(self) -> list[object]:
        """None."""
        return []

    def cancel(self, now: float) -> None:
        """End with what was acknowledged."""
        self._deliveries.stop()
        self.result = self._acknowledged()

    def _acknowledged(self) -> int:
        outcomes = [told for parcel in self._parcels for told in parcel.outcomes()]
        return sum(len(offers) * outcome.acknowledged for offers, outcome in outcomes)

    def _next_token(self) -> int:
        self._token += 1
        return self._token


@dataclass(slots=True, eq=False)
class _Newcomer:
    peer: PeerInfo
    came: float
    due: float
    prefixes: list[int] | None = None  # of the key space around it that are still to be looked through
    contents: list[bytes] = field(default_factory=list)  # of the prefix in turn
    handed: int = 0


class Handovers:
    """The newcomers in turn, one handover at a time. After `take` comes `ended`, when that has ended."""

    def __init__(
        self, config: OfferConfig, k: int, local: PeerId, store: OfferStore, closest: Closest
    ) -> None:
        self._config = config
        self._k = k
        self._local = local
        self._store = store
        self._closest = closest
        self._newcomers: deque[_Newcomer] = deque()
        self._waiting: set[PeerId] = set()
        self._under_way = False
        self._not_before = 0.0
        self.handed = 0
        """Offers that newcomers acknowledged."""

    def newcomer(self, peer: PeerInfo, protocols: Collection[str], now: float) -> None:
        """A peer came into the table. Beyond `max_newcomers` the oldest go without."""
        if self._config.protocol not in protocols or peer.peer_id in self._waiting:
            return
        if len(self._newcomers) >= self._config.max_newcomers:
            self._waiting.discard(self._newcomers.popleft().peer.peer_id)
        # Later than at once: it has to meet others, too, and may be gone again.
        self._newcomers.append(_Newcomer(peer, now, now + self._config.handover_delay_s))
        self._waiting.add(peer.peer_id)

    def next_timer(self) -> float | None:
        """When `take` may have something."""
        if self._under_way or not self._newcomers:
            return None
        return max(self._newcomers[0].due, self._not_before)

    def take(self, now: float) -> tuple[PeerInfo, list[Offer]] | None:
        """A newcomer and offers for it; None: nothing now, `next_timer` says when to ask again."""
        due = self.next_timer()
        if due is None or due > now:
            return None
        newcomer, config = self._newcomers[0], self._config
        offers = self._gather(newcomer, now)
        self._not_before = now + config.handover_pause_s
        newcomer.handed += len(offers)
        if (not newcomer.prefixes and not newcomer.contents) or newcomer.handed >= config.max_handed_over:
            self._newcomers.popleft()
            self._waiting.discard(newcomer.peer.peer_id)
        if not offers:
            return None
        self._under_way = True
        return newcomer.peer, offers

    def ended(self, peer: PeerInfo, acknowledged: int | None, now: float) -> None:
        """How many offers the peer acknowledged; None, or none at all: it gets no more."""
        self._under_way = False
        self.handed += acknowledged or 0
        if not acknowledged and peer.peer_id in self._waiting:
            self._waiting.discard(peer.peer_id)
            self._newcomers = deque(one for one in self._newcomers if one.peer.peer_id != peer.peer_id)

    def _gather(self, newcomer: _Newcomer, now: float) -> list[Offer]:
        """Up to a message of offers; looks at `handover_slice` contents at most.

        What was signed after the newcomer came is left out: its holder has met it.
        """
        if newcomer.prefixes is None:
            newcomer.prefixes = self._prefixes(newcomer.peer.peer_id.key)
        offers: list[Offer] = []
        left = self._config.handover_slice
        while left and len(offers) < self._config.max_offers_per_store:
            if not newcomer.contents:
                if not newcomer.prefixes:
                    break
                newcomer.contents = self._store.contents_under(newcomer.prefixes.pop())
                continue
            content = newcomer.contents.pop()
            left -= 1
            if self._ours_to_give(kad_key(content), newcomer.peer.peer_id):
                held = self._store.held(content)
                offers += [one for one in held if one.not_after > now and one.issued_at <= newcomer.came]
        return offers

    def _ours_to_give(self, key: KadKey, newcomer: PeerId) -> bool:
        """Whether the newcomer is among the k closest to the key, and we among the few that give."""
        target = int.from_bytes(key, "big")

        def distance(peer_id: PeerId) -> int:
            return int.from_bytes(peer_id.key, "big") ^ target

        others = [one for one in self._closest(key, self._k + 1) if one != newcomer]
        its, ours = distance(newcomer), distance(self._local)
        nearer = [distance(one) for one in others]
        if sum(one < its for one in nearer) + (ours < its) >= self._k:
            return False
        return sum(one < ours for one in nearer) < self._config.handover_givers

    def _prefixes(self, key: KadKey) -> list[int]:
        """The parts of the key space in which the newcomer may be among the k closest: those around it."""
        at, near = place(key), self._closest(key, self._k + 1)
        free = PLACE_BITS  # bits of a place that may differ
        if len(near) > self._k:
            free = min((place(near[-1].key) ^ at).bit_length() + _SPARSE_BITS, PLACE_BITS)
        spare = max(free - (PLACE_BITS - PREFIX_BITS), 0)
        first = at >> (PLACE_BITS - PREFIX_BITS) >> spare << spare
        return list(range(first, first + (1 << spare)))
