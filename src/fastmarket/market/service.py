"""The market over a `Dht`: registers and finds offers within a caller's time. Knows no transport."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, FastmarketError, NetworkFault, QuorumFailed, RequestTimeout
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.market.dht import Acknowledged, Dht
from fastmarket.market.watching import Seen, Watching
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.model.results import NodeView, PeerView

log = logging.getLogger(__name__)


class MarketService:
    """What both gRPC services do, in our own types.

    `deadline_s` is always what the caller has left, None where it set no deadline.
    """

    def __init__(
        self, dht: Dht, config: MarketConfig | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self._dht = dht
        self._config = config or MarketConfig()
        self._now = now
        self._lookups: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Event] = set()

    @property
    def peer_id(self) -> PeerId:
        """The node's."""
        return self._dht.peer_id

    async def register(self, terms: OfferTerms, deadline_s: float | None = None) -> Outcome:
        """Returns when the offer is stored here and acknowledged by a quorum; registering again is harmless.

        Raises `QuorumFailed` short of it (the offer is kept and announced further), `CallerFault`, `Busy`.
        """
        budget_s = self._budget(self._config.register_budget_s, deadline_s)
        call = self._dht.register_offer(
            terms.content, terms.user_id, terms.user_name, terms.metadata, budget_s, terms.form
        )
        try:
            # The network keeps the deadline itself and then knows the counts; this is for one that hangs.
            async with asyncio.timeout(budget_s + self._config.reply_margin_s / 2):
                outcome = await call
        except TimeoutError:
            raise RequestTimeout("not done within the call's time; the offer is announced further") from None
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
        return outcome

    def known(self, content: bytes) -> LocalAnswer | None:
        """What `find` would return, where that is known without asking anybody; None: it has to ask."""
        return self._dht.known_offers(content)

    async def find(self, content: bytes, deadline_s: float | None = None) -> list[Offer]:
        """Every live offer that came within the find budget, cheapest first, whatever hangs."""
        known = self._dht.known_offers(content)
        if known is not None:
            return list(known.offers)
        found = OfferSet()
        budget_s = self._budget(self._config.find_budget_s, deadline_s)
        task = asyncio.create_task(self._gather(content, budget_s, found))
        self._lookups.add(task)
        task.add_done_callback(self._gathered)
        try:
            await asyncio.wait({task}, timeout=budget_s)
            if task.done():
                _raise_unless_network(task)
        finally:
            # Not awaited: what hangs may hang in its cancellation, too.
            task.cancel()
        return found.cheapest(self._now())

    async def find_each(self, content: bytes, deadline_s: float | None = None) -> AsyncGenerator[Offer, None]:
        """Offers as they come, until the find budget is used up; tombstones and later versions among them."""
        known = self._dht.known_offers(content)
        if known is not None:
            for offer in known.offers:
                yield offer
            return
        end = time.monotonic() + self._budget(self._config.find_budget_s, deadline_s)
        offers = self._dht.find_offers(content, end - time.monotonic())
        try:
            while (left_s := end - time.monotonic()) > 0:
                async with asyncio.timeout(left_s):
                    offer = await anext(offers)
                yield offer
        except (StopAsyncIteration, TimeoutError, NetworkFault):
            pass  # a network in trouble is no reason to keep back what was found
        finally:
            await offers.aclose()

    async def unpriced(
        self, content: bytes, found: OfferSet, spent_s: float, deadline_s: float | None = None
    ) -> set[PeerId]:
        """Others that provide a content of which no offer was `found`: who made none, or took none back. In
        what `spent_s` leaves of the find budget."""
        left_s = self._budget(self._config.find_budget_s, deadline_s) - spent_s
        if left_s <= 0:
            return set()
        try:
            async with asyncio.timeout(left_s):
                providers = await self._dht.content_providers(content, left_s)
        except (TimeoutError, NetworkFault, Busy):
            return set()
        return {peer for peer in providers if peer != self.peer_id and not found.has_provider(peer)}

    def registered_form(self, content: bytes, user_id: bytes) -> CidForm | None:
        """Of the CID that this node's offer was registered by."""
        own = self._dht.own_offer(content, user_id)
        return None if own is None else own.form

    async def register_many(
        self, many: Sequence[OfferTerms], deadline_s: float | None = None
    ) -> Sequence[Outcome]:
        """Returns how each went, in order. Raises `Busy` with none registered."""
        return await self._dht.register_offers(many, self._budget(self._config.bulk_budget_s, deadline_s))

    async def withdraw(self, content: bytes, user_id: bytes, deadline_s: float | None = None) -> Outcome:
        """Takes an own offer back; returns when the storers know. Raises `NoSuchOffer`, `QuorumFailed`."""
        budget_s = self._budget(self._config.withdraw_budget_s, deadline_s)
        outcome = await self._dht.withdraw_offer(content, user_id, budget_s)
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
        return outcome

    async def put_record(
        self, key: bytes, value: bytes, quorum: int, deadline_s: float | None = None
    ) -> Acknowledged:
        """`quorum` 0: the majority of those asked. Raises `QuorumFailed`, `CallerFault`."""
        budget_s = self._budget(self._config.register_budget_s, deadline_s)
        return await self._dht.put_record(key, value, quorum or Quorum.MAJORITY, deadline_s=budget_s)

    async def get_record(self, key: bytes, quorum: int, deadline_s: float | None = None) -> bytes:
        """`quorum` 0: one node is enough. Raises `NotFound`, `QuorumFailed`, `CallerFault`."""
        budget_s = self._budget(self._config.closest_budget_s, deadline_s)
        return await self._dht.get_record(key, quorum or Quorum.ONE, deadline_s=budget_s)

    async def watch(
        self,
        watching: Watching,
        interval_s: float,
        find: Callable[[bytes], Awaitable[list[Offer]]] | None = None,
    ) -> AsyncGenerator[Seen, None]:
        """All holders, then what changes, without end. Raises `Busy`, `NetworkFault` when the node stops.

        `find` takes the place of ours: a search in its turn.
        """
        find = find or self.find
        config = self._config
        if len(self._watches) >= config.max_watches:
            raise Busy("content", f"{config.max_watches} are watched already")
        interval_s = interval_s or config.watch_interval_s
        interval_s = min(max(interval_s, config.min_watch_interval_s), config.max_watch_interval_s)
        stopped = asyncio.Event()
        self._watches.add(stopped)
        try:
            first = True
            while not stopped.is_set():
                try:
                    seen = watching.saw(await find(watching.content))
                except Busy:
                    if first:
                        raise
                    seen = Seen((), ())  # looked again after the interval
                if first or seen.present or seen.gone:
                    yield seen
                first = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await stopped.wait()
            raise NetworkFault("the node stops")
        finally:
            self._watches.discard(stopped)

    def end_watches(self) -> None:
        """The node stops."""
        for stopped in self._watches:
            stopped.set()

    def own_offers(self) -> Iterable[Offer]:
        """What this node offers, in no order."""
        return self._dht.own_offers()

    def now(self) -> float:
        """Unix seconds."""
        return self._now()

    async def closest_peers(self, key: bytes, deadline_s: float | None = None) -> Sequence[PeerView]:
        """The nodes of the network closest to a key."""
        budget_s = self._budget(self._config.closest_budget_s, deadline_s)
        try:
            async with asyncio.timeout(budget_s + self._config.reply_margin_s / 2):
                return await self._dht.closest_peers(key, budget_s)
        except TimeoutError:
            raise RequestTimeout("the network did not answer") from None

    def peers(self) -> Sequence[PeerView]:
        """The routing table."""
        return self._dht.peers()

    def node_info(self) -> NodeView:
        """This node."""
        return self._dht.node_info()

    async def close(self) -> None:
        """Ends the lookups that are still under way."""
        for task in tuple(self._lookups):
            task.cancel()
        if self._lookups:
            await asyncio.wait(self._lookups, timeout=self._config.reply_margin_s)

    def _budget(self, ours_s: float, deadline_s: float | None) -> float:
        if deadline_s is None:
            return ours_s
        # Of a very short deadline half is left for the work, so that there is an answer at all.
        return min(ours_s, max(deadline_s - self._config.reply_margin_s, deadline_s / 2, 0.0))

    async def _gather(self, content: bytes, budget_s: float, found: OfferSet) -> None:
        async for offer in self._dht.find_offers(content, budget_s):
            found.add(offer)

    def _gathered(self, task: asyncio.Task[None]) -> None:
        self._lookups.discard(task)
        if not task.cancelled() and not isinstance(fault := task.exception(), FastmarketError | None):
            log.error("a lookup failed", exc_info=fault)


def _raise_unless_network(task: asyncio.Task[None]) -> None:
    """A network in trouble is no reason to keep back what was found; anything else is."""
    fault = None if task.cancelled() else task.exception()
    if fault is not None and not isinstance(fault, NetworkFault):
        raise fault
