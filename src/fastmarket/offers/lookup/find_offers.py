"""The job that finds the offers for a content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.config import OfferConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.lookup_job import LookupJob, Seeds
from fastmarket.offers.lookup.queries import FindOffersQuery, MoreToFetch
from fastmarket.offers.model.mixing import FRONT
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.offer_set import OfferSet

# Tokens of extra requests start here; a lookup counts its own from 0 to max_asked.
_FIRST_EXTRA_TOKEN = 1_000_000
# Peers that are asked for further pages: the storers of a content hold nearly the same offers.
MAX_PAGED_PEERS = 3


@dataclass(frozen=True, slots=True)
class _Extra:
    """A FIND that is not part of the lookup."""

    peer: PeerInfo
    skip: int


class _Paging:
    """Which peers to ask for further pages: a few, each a few times; a failed one is replaced."""

    __slots__ = ("_max_pages", "_pages", "_waiting")

    def __init__(self, max_pages: int) -> None:
        self._max_pages = max_pages
        self._pages: dict[PeerId, int] = {}
        self._waiting: list[MoreToFetch] = []

    def add(self, more: MoreToFetch) -> None:
        """A peer has more offers."""
        self._waiting.append(more)

    def on_failed(self, peer_id: PeerId) -> None:
        """A request for a page failed."""
        self._pages.pop(peer_id, None)

    def take(self) -> list[MoreToFetch]:
        """Pages to request now; those of further peers stay queued."""
        taken, waiting = [], []
        for more in self._waiting:
            pages = self._pages.get(more.peer.peer_id, 0)
            if not pages and len(self._pages) >= MAX_PAGED_PEERS:
                waiting.append(more)
            elif pages < self._max_pages:
                self._pages[more.peer.peer_id] = pages + 1
                taken.append(more)
        self._waiting = waiting
        return taken


class FindOffersJob(LookupJob):
    """A lookup, with extra requests to providers that were found without an offer, and for further pages.

    Progress: each `Offer` that is new or newer than the version reported before, tombstones included; those
    held here come first. Result: a tuple of the live offers, in the order of `OfferSet.in_order`. The job
    ends when the lookup and the extra requests have ended, at the latest after `timeout_s`.
    """

    __slots__ = (
        "_config",
        "_directly_asked",
        "_extras",
        "_held",
        "_next_token",
        "_offers",
        "_paging",
        "_query",
        "_unsent",
    )

    def __init__(
        self, lookup: Lookup, query: FindOffersQuery, seeds: Seeds, config: OfferConfig, timeout_s: float
    ) -> None:
        """`lookup` is a lookup with that `query`."""
        super().__init__(lookup, seeds, timeout_s)
        self._query = query
        self._config = config
        self._offers = OfferSet(ranks=query.ranks)
        self._unsent: list[SendRequest] = []
        self._extras: dict[int, _Extra] = {}
        self._next_token = _FIRST_EXTRA_TOKEN
        self._directly_asked: set[PeerId] = set()
        self._paging = _Paging(config.max_pages)
        self._held: tuple[Offer, ...] = ()

    def hold(self, offers: Iterable[Offer]) -> None:
        """Sets the versions stored here; expired ones hide older versions that other nodes may still have."""
        self._held = tuple(offers)

    def start(self, now: float) -> None:
        """Those held here come first."""
        super().start(now)
        self._offers = OfferSet(self._held, self._query.ranks)
        self._query.ranks.on_answer(None, (offer.key for offer in self._held if not offer.withdrawn))
        self._events.extend(offer for offer in self._held if offer.is_live(now))

    def poll_requests(self, now: float) -> list[SendRequest]:
        """Requests of the lookup, and extra ones."""
        if self.result is not None:
            return []
        requests = self.lookup.poll(now)
        requests += self._unsent
        self._unsent = []
        if self.lookup.end is not None and not self._extras:
            self.result = tuple(self._offers.in_order(now))
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        extra, skip = self._extras.get(token), 0
        if extra is not None:
            skip = extra.skip
            items = self._query.read_page(extra.peer, payload, skip, now).items
            del self._extras[token]
        else:
            items = self.lookup.on_reply(token, protocol, payload, now)
        for place, offer in enumerate((item for item in items if isinstance(item, Offer)), skip):
            self._take(offer, place)
        # Only now is it known which providers have an offer in this reply.
        for item in items:
            if isinstance(item, PeerInfo):
                self._ask_directly(item)
            elif isinstance(item, MoreToFetch):
                self._paging.add(item)
        self._fetch_more()

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        extra = self._extras.pop(token, None)
        if extra is None:
            self.lookup.on_failure(token, kind, now)
        elif extra.skip:
            self._paging.on_failed(extra.peer.peer_id)
            self._fetch_more()

    def stop(self, end: End) -> None:
        """Ends with what was found, extra requests included."""
        super().stop(end)
        self._extras.clear()
        self._unsent.clear()

    def _take(self, offer: Offer, place: int) -> None:
        """The front of every answer is taken, however much others named before: peers that name thousands of
        offers of their own do not hide those of a storer that answers later."""
        has_room = len(self._offers) < self._config.max_found or place < FRONT
        if (has_room or offer in self._offers) and self._offers.add(offer):
            self._events.append(offer)

    def _ask_directly(self, provider: PeerInfo) -> None:
        """Asks a provider whose record a standard libp2p node held: only the provider knows its offer."""
        peer_id = provider.peer_id
        if (
            peer_id in self._query.speakers
            or peer_id in self._directly_asked
            or len(self._directly_asked) >= self._config.max_direct_asks
            or self._offers.has_provider(peer_id)
        ):
            return
        self._directly_asked.add(peer_id)
        self._send(_Extra(provider, 0), self._query.page(0), self._config.direct_timeout_s)

    def _fetch_more(self) -> None:
        for more in self._paging.take():
            self._send(_Extra(more.peer, more.skip), self._query.page(more.skip), self._config.page_timeout_s)

    def _send(self, extra: _Extra, choice: Choice, timeout_s: float) -> None:
        token = self._next_token
        self._next_token += 1
        self._extras[token] = extra
        self._unsent.append(SendRequest(token, extra.peer, (choice,), timeout_s))
