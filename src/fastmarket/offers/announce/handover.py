"""Hands offers over to peers that joined after they were announced and should hold them now.

An announcement goes to the peers closest to the content at that time. In the hours until the next one some of
them leave and others join. So when a peer joins nearby, a few of the peers that hold the offers it should
have send them to it. Offers are signed, so the newcomer need not trust the sender. Tombstones are sent as
well: a storer that missed a withdrawal learns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import OfferConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey, kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.network_size import KEY_BITS
from fastmarket.native.candidates import Answered
from fastmarket.offers.announce.coverage import PLACE_BITS, place
from fastmarket.offers.announce.delivery import Deliveries
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.store.store_index import PREFIX_BITS

# A newcomer should store most keys of the subtree of its k closest peers, and some beyond where peers are
# sparse: a part of the key space four times as large has nearly all of its keys.
_SPARSE_BITS = 2

# The peers known closest to a 32-byte key, closest first.
Closest = Callable[[KadKey, int], list[PeerId]]


class HandoverJob(Job):
    """Sends STOREs of some offers to one peer, one at a time. The result is how many it acknowledged."""

    __slots__ = ("_deliveries", "_parcels", "_token")

    def __init__(self, peer: PeerInfo, offers: list[Offer], deliveries: Deliveries, protocol: str) -> None:
        super().__init__()
        self._parcels = list(deliveries.parcels(offers))
        self._deliveries = deliveries
        self._token = 0
        for parcel in self._parcels:
            deliveries.add(parcel, [Answered(peer, protocol)], unknown=False)

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The next message."""
        if self.result is not None:
            return []
        requests = list(self._deliveries.poll(eager=True, token=self._next_token))
        if not requests and not self._deliveries.is_busy:
            self.result = self._acknowledged()
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        self._deliveries.on_reply(token, protocol, payload, now)

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Stops: a peer that fails once is not sent the rest."""
        self._deliveries.stop()

    def cancel(self, now: float) -> None:
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
    prefixes: list[int] | None = None  # parts of the key space with contents that are still to be searched
    contents: list[bytes] = field(default_factory=list)  # of the current prefix
    handed_count: int = 0


class Handovers:
    """A queue of newcomers, served one handover at a time. Each `take` is followed by `on_ended`."""

    __slots__ = (
        "_closest",
        "_config",
        "_k",
        "_local",
        "_newcomers",
        "_not_before",
        "_reach",
        "_store",
        "_under_way",
        "acknowledged_count",
        "newcomers",
    )

    def __init__(
        self,
        config: OfferConfig,
        k: int,
        local: PeerId,
        store: OfferStore,
        closest: Closest,
        reach: Callable[[], int],
    ) -> None:
        """`reach()`: the distance from a key within which all peers hold its offers (`kad.lookup.region`)."""
        self._config = config
        self._reach = reach
        self._k = k
        self._local = local
        self._store = store
        self._closest = closest
        self._newcomers: BoundedMap[PeerId, _Newcomer] = BoundedMap(config.max_newcomers)
        self.newcomers = self._newcomers.entries
        """Those that wait, the next one first."""
        self._under_way = False
        self._not_before = 0.0
        self.acknowledged_count = 0
        """How many offers newcomers acknowledged."""

    def on_newcomer(self, peer: PeerInfo, protocols: Collection[str], now: float) -> None:
        """A peer entered the table. Beyond `max_newcomers` the oldest are dropped."""
        if self._config.protocol not in protocols or peer.peer_id in self.newcomers:
            return
        # Not at once: the newcomer has to meet others first, and may leave again.
        self._newcomers.put(peer.peer_id, _Newcomer(peer, now, now + self._config.handover_delay_s))

    def next_timer(self) -> float | None:
        """When `take` may return something."""
        if self._under_way or not self.newcomers:
            return None
        return max(self._first().due, self._not_before)

    def take(self, now: float) -> tuple[PeerInfo, list[Offer]] | None:
        """A newcomer and offers for it; None: nothing now, see `next_timer`."""
        due = self.next_timer()
        if due is None or due > now:
            return None
        newcomer, config = self._first(), self._config
        offers = self._gather(newcomer, now)
        self._not_before = now + config.handover_pause_s
        newcomer.handed_count += len(offers)
        if (
            not newcomer.prefixes and not newcomer.contents
        ) or newcomer.handed_count >= config.max_handed_over:
            self._newcomers.pop(newcomer.peer.peer_id)
        if not offers:
            return None
        self._under_way = True
        return newcomer.peer, offers

    def on_ended(self, peer: PeerInfo, acknowledged: int | None, now: float) -> None:
        """How many offers the peer acknowledged; after None or 0 it gets no more."""
        self._under_way = False
        self.acknowledged_count += acknowledged or 0
        if not acknowledged:
            self._newcomers.pop(peer.peer_id)

    def _first(self) -> _Newcomer:
        return next(iter(self.newcomers.values()))

    def _gather(self, newcomer: _Newcomer, now: float) -> list[Offer]:
        """Up to one message of offers, out of `handover_slice` contents at most.

        Offers that were signed after the newcomer joined are left out: their holders know it.
        """
        if newcomer.prefixes is None:
            newcomer.prefixes = self._prefixes(newcomer.peer.peer_id.key)
        offers: list[Offer] = []
        left = self._config.handover_slice
        while left and len(offers) < self._config.max_offers_per_store:
            if not newcomer.contents:
                if not newcomer.prefixes:
                    break
                newcomer.contents = self._store.contents_with_prefix(newcomer.prefixes.pop())
                continue
            content = newcomer.contents.pop()
            left -= 1
            if self._ours_to_give(kad_key(content), newcomer.peer.peer_id):
                held = self._store.held(content)
                offers += [one for one in held if one.not_after > now and one.issued_at <= newcomer.came]
        return offers

    def _ours_to_give(self, key: KadKey, newcomer: PeerId) -> bool:
        """Whether the newcomer is among the k closest to the key, or in its region, and we among the few that
        hand over."""
        target = int.from_bytes(key, "big")
        its, ours = (int.from_bytes(one.key, "big") ^ target for one in (newcomer, self._local))
        nearer = [int.from_bytes(one.key, "big") ^ target for one in self._closest(key, self._k + 1)]
        if its > self._reach() and sum(one < its for one in nearer) + (ours < its) >= self._k:
            return False
        return sum(one < ours and one != its for one in nearer) < self._config.handover_givers

    def _prefixes(self, key: KadKey) -> list[int]:
        """Where contents are held of which it may be among the k closest, or in the region."""
        at, near = place(key), self._closest(key, self._k + 1)
        free = PLACE_BITS  # bits of a place that may differ
        if len(near) > self._k:
            free = min((place(near[-1].key) ^ at).bit_length() + _SPARSE_BITS, PLACE_BITS)
        free = max(free, (self._reach() >> (KEY_BITS - PLACE_BITS)).bit_length())
        spare = max(free - (PLACE_BITS - PREFIX_BITS), 0)
        first = at >> (PLACE_BITS - PREFIX_BITS) >> spare << spare
        return self._store.prefixes(range(first, first + (1 << spare)))
