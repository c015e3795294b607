"""What the fleet holds of a content, as the store tells it, and a bounded memory of that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.errors import PeerFault, StorageFault
from fastmarket.fleet.fields import MARK, OFFER, mark_field, offer_field, read_mark
from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.offer import MAX_CLOCK_SKEW_S, MAX_LIFETIME_S, Offer
from fastmarket.offers.model.refusals import OfferExpired, OfferRefused


class FleetView:
    """The fleet's offers for one content. A user's newest live one counts, whichever server took it.

    `known` False: the store did not answer. `over`: fields that are of no use any more.
    """

    __slots__ = ("_best", "_marks", "_providers", "known", "offers", "over")

    def __init__(
        self,
        offers: Iterable[Offer] = (),
        marks: Mapping[bytes, int] | None = None,
        over: Sequence[bytes] = (),
        *,
        known: bool = True,
    ) -> None:
        """`marks`: by user id the seq up to which offers count no more."""
        self.offers = tuple(offers)
        self.known = known
        self.over = over
        self._marks = dict(marks or {})
        self._best: dict[bytes, int] = {}
        self._providers: set[tuple[PeerId, bytes]] = set()
        for offer in self.offers:
            user = offer.user_id
            self._providers.add((offer.provider, user))
            if not offer.withdrawn and offer.seq > self._best.get(user, -1):
                self._best[user] = offer.seq

    def hides(self, offer: Offer) -> bool:
        """Whether this version, of one of the fleet's servers, was taken over or back at another."""
        if (offer.provider, offer.user_id) not in self._providers:
            return False
        user = offer.user_id
        return offer.seq < self._best.get(user, -1) or offer.seq <= self._marks.get(user, -1)

    def live(self, now: float) -> list[Offer]:
        """What a buyer may be shown."""
        return [offer for offer in self.offers if offer.is_live(now) and not self.hides(offer)]

    def by_others(self, user_id: bytes, peer_id: PeerId, now: float) -> list[Offer]:
        """Live offers of a user that other servers announce."""
        found = (offer for offer in self.offers if offer.user_id == user_id and offer.is_live(now))
        return [offer for offer in found if offer.provider != peer_id]


UNKNOWN = FleetView(known=False)


class ViewReader:
    """Makes a view of what stands in a content's hash, a part at a time: an offer takes a signature's check.

    The store is believed as little as a stranger: an offer counts under the content it was signed for, and
    in the place that is its own, and a mark no longer than the offers it can be about.
    """

    __slots__ = ("_content", "_marks", "_now", "_offers", "_opened", "_over", "wrong")

    def __init__(self, content: bytes, opened: Callable[[bytes], Offer], now: float) -> None:
        """`opened` verifies an offer, and raises OfferRefused."""
        self.wrong = 0
        """Fields that are of no use here, and never were."""
        self._content = content
        self._opened = opened
        self._now = now
        self._offers: list[Offer] = []
        self._marks: dict[bytes, int] = {}
        self._over: list[bytes] = []

    def read(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Some more of them."""
        for field, value in fields:
            try:
                if not (self._offer(field, value) if field.startswith(OFFER) else self._mark(field, value)):
                    self.wrong += 1
            except OfferExpired:
                self._over.append(field)
            except (OfferRefused, PeerFault):
                self.wrong += 1

    def view(self) -> FleetView:
        """Of all that was read."""
        return FleetView(self._offers, self._marks, self._over)

    def _offer(self, field: bytes, value: bytes) -> bool:
        offer = self._opened(value)
        if offer.content != self._content or field != offer_field(offer):
            return False
        self._offers.append(offer)
        return True

    def _mark(self, field: bytes, value: bytes) -> bool:
        if not field.startswith(MARK):
            return False
        user_id, seq, not_after = read_mark(value)
        if field != mark_field(user_id) or not_after > self._now + MAX_LIFETIME_S + MAX_CLOCK_SKEW_S:
            return False
        if not_after > self._now:
            self._marks[user_id] = seq
        else:
            self._over.append(field)
        return True


def read_view(
    content: bytes, fields: Mapping[bytes, bytes], opened: Callable[[bytes], Offer], now: float
) -> FleetView:
    """All of a content's hash at once; what is of no use there is left out."""
    reader = ViewReader(content, opened, now)
    reader.read(fields.items())
    return reader.view()


@dataclass(frozen=True, slots=True)
class _Kept:
    view: FleetView
    until: float


class ViewCache:
    """Views of contents, read when they are asked for and served for `fresh_s`; many who ask at once share
    one read. Bounded in contents and in offers: the one not used for longest goes."""

    def __init__(
        self,
        read: Callable[[bytes], Awaitable[FleetView]],
        fresh_s: float,
        bounds: tuple[int, int],
        now: Callable[[], float],
    ) -> None:
        """`read` raises StorageFault; `bounds`: contents, offers."""
        self.answers: Counter[str] = Counter()
        """How often a view came from "memory", from the "store", or from neither ("away")."""
        self._read = read
        self._fresh_s = fresh_s
        self._now = now
        max_contents, max_offers = bounds
        self._kept: BoundedMap[bytes, _Kept] = BoundedMap(
            max_contents, max_weight=max_offers, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._reading: dict[bytes, asyncio.Future[FleetView]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def offers(self) -> int:
        """In all that is kept."""
        return self._kept.weight

    async def get(self, content: bytes) -> FleetView:
        """Never fails: UNKNOWN when the store does not answer, and never a view older than `fresh_s`."""
        kept = self._kept.get(content)
        if kept is not None and kept.until > self._now():
            self.answers["memory"] += 1
            return kept.view
        reading = self._reading.get(content)
        if reading is None:
            reading = self._reading[content] = asyncio.ensure_future(self._fetch(content))
            reading.add_done_callback(lambda done: self._read_done(content, done))
        try:
            view = await asyncio.shield(reading)
        except StorageFault:
            self.answers["away"] += 1
            return UNKNOWN
        self.answers["store"] += 1
        return view

    def forget(self, content: bytes) -> None:
        """It has changed; a read under way may be older, too."""
        self._kept.pop(content)
        self._reading.pop(content, None)

    async def _fetch(self, content: bytes) -> FleetView:
        asked_at = self._now()
        view = await self._read(content)
        if self._reading.get(content) is asyncio.current_task():
            self._kept.put(content, _Kept(view, asked_at + self._fresh_s), len(view.offers))
        return view

    def _read_done(self, content: bytes, done: asyncio.Future[FleetView]) -> None:
        if self._reading.get(content) is done:
            del self._reading[content]
        if not done.cancelled():
            done.exception()  # whoever waits gets it


class RecentFinds:
    """What whole lookups in the network found, for `fresh_s`: what many ask for is looked up once."""

    def __init__(self, fresh_s: float, bounds: tuple[int, int], now: Callable[[], float]) -> None:
        """`bounds`: contents, offers."""
        self._fresh_s = fresh_s
        self._now = now
        max_contents, max_offers = bounds
        self._kept: BoundedMap[bytes, tuple[float, tuple[Offer, ...]]] = BoundedMap(
            max_contents, max_weight=max_offers
        )

    def get(self, content: bytes) -> tuple[Offer, ...] | None:
        """None: it has to be looked up."""
        until, offers = self._kept.peek(content) or (0.0, ())
        return offers if until > self._now() else None

    def put(self, content: bytes, offers: Sequence[Offer], begun: float) -> None:
        """What a lookup that began then has found; the oldest finds go when there are too many."""
        self._kept.put(content, (begun + self._fresh_s, tuple(offers)), len(offers))

    def forget(self, content: bytes) -> None:
        """Something of it has changed here."""
        self._kept.pop(content)
