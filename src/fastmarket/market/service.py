"""The market over a `Dht`: registers and finds offers within a caller's deadline. Knows no transport."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, FastmarketError, NetworkFault, QuorumFailed, RequestTimeout
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.market.dht import Acknowledged, Dht
from fastmarket.market.watching import Seen, Watching
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.model.results import NodeView, PeerView

log = logging.getLogger(__name__)


class MarketService:
    """The operations of both gRPC services, in our own types.

    `deadline_s` is always the caller's remaining time, or None if it set no deadline.
    """

    def __init__(
        self,
        dht: Dht,
        config: MarketConfig | None = None,
        *,
        now: Callable[[], float] = time.time,
        history: HolderHistory | None = None,
    ) -> None:
        """`history`: what this node saw of holders itself, which orders them."""
        self._history = history
        self._dht = dht
        self._config = config or MarketConfig()
        self._now = now
        self._lookups: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Future[None]] = set()

    @property
    def peer_id(self) -> PeerId:
        """The node's peer id."""
        return self._dht.peer_id

    async def register(self, terms: OfferTerms, deadline_s: float | None = None) -> Outcome:
        """Returns when the offer is stored here and acknowledged by a quorum; registering again is harmless.

        Raises `QuorumFailed` without a quorum (the offer is stored and announced again), `CallerFault`,
        `Busy`.
        """
        budget_s = self._budget(self._config.register_budget_s, deadline_s)
        call = self._dht.register_offer(
            terms.content, terms.user_id, terms.user_name, terms.metadata, budget_s, terms.form
        )
        try:
            # The DHT keeps the deadline itself and then knows the counts; this is in case it hangs.
            async with asyncio.timeout(budget_s + self._config.reply_margin_s / 2):
                outcome = await call
        except TimeoutError:
            raise RequestTimeout("deadline passed; the offer will be announced again") from None
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
        return outcome

    def known(self, content: bytes) -> LocalAnswer | None:
        """The result of `find` if it is known without querying peers, else None."""
        return self._dht.known_offers(content)

    async def find(self, content: bytes, deadline_s: float | None = None) -> list[Offer]:
        """Every live offer that arrives within the find budget, even if a peer hangs; the order is that of
        `in_order`."""
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
            # Not awaited: a task that hangs may also hang in its cancellation.
            task.cancel()
        return self.in_order(found)

    def in_order(self, found: OfferSet) -> list[Offer]:
        """The live offers that a search found, as a buyer should look at them."""
        history, now = self._history, self._now()
        if history is None:
            return found.in_order(now)
        return found.in_order(now, lambda provider: history.standing(provider, now))

    async def find_each(
        self, content: bytes, deadline_s: float | None = None, ranks: StorerRanks | None = None
    ) -> AsyncGenerator[Offer, None]:
        """Offers as they arrive, within the find budget; includes tombstones and later versions. `ranks`: as
        in `Dht.find_offers`."""
        known = self._dht.known_offers(content)
        if known is not None:
            if ranks is not None:
                ranks.on_answer(self.peer_id, (offer.key for offer in known.offers))
            for offer in known.offers:
                yield offer
            return
        end = time.monotonic() + self._budget(self._config.find_budget_s, deadline_s)
        offers = self._dht.find_offers(content, end - time.monotonic(), ranks)
        try:
            while (left_s := end - time.monotonic()) > 0:
                async with asyncio.timeout(left_s):
                    offer = await anext(offers)
                yield offer
        except (StopAsyncIteration, TimeoutError, NetworkFault):
            pass  # network trouble is no reason to withhold what was found
        finally:
            await offers.aclose()

    async def unpriced(
        self, content: bytes, found: OfferSet, spent_s: float, deadline_s: float | None = None
    ) -> set[PeerId]:
        """Providers of content for which no offer was `found`: those that made none, or withdrew none. Uses
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
        """The form of the CID under which this node's offer was registered."""
        own = self._dht.own_offer(content, user_id)
        return None if own is None else own.form

    async def register_many(
        self, many: Sequence[OfferTerms], deadline_s: float | None = None
    ) -> Sequence[Outcome]:
        """Returns the outcome of each, in order. Raises `Busy` with none registered."""
        return await self._dht.register_offers(many, self._budget(self._config.bulk_budget_s, deadline_s))

    async def withdraw(self, content: bytes, user_id: bytes, deadline_s: float | None = None) -> Outcome:
        """Withdraws an own offer; returns when the storers know. Raises `NoSuchOffer`, `QuorumFailed`."""
        budget_s = self._budget(self._config.withdraw_budget_s, deadline_s)
        outcome = await self._dht.withdraw_offer(content, user_id, budget_s)
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
        return outcome

    async def put_record(
        self, key: bytes, value: bytes, quorum: int, deadline_s: float | None = None
    ) -> Acknowledged:
        """`quorum` 0: a majority of those asked. Raises `QuorumFailed`, `CallerFault`."""
        budget_s = self._budget(self._config.register_budget_s, deadline_s)
        return await self._dht.put_record(key, value, quorum or Quorum.MAJORITY, deadline_s=budget_s)

    async def get_record(self, key: bytes, quorum: int, deadline_s: float | None = None) -> bytes:
        """`quorum` 0: one node suffices. Raises `NotFound`, `QuorumFailed`, `CallerFault`."""
        budget_s = self._budget(self._config.closest_budget_s, deadline_s)
        return await self._dht.get_record(key, quorum or Quorum.ONE, deadline_s=budget_s)

    async def watch(
        self,
        watching: Watching,
        interval_s: float,
        find: Callable[[bytes], Awaitable[list[Offer]]] | None = None,
    ) -> AsyncGenerator[Seen, None]:
        """All holders, then changes, without end. Raises `Busy`, or `NetworkFault` when the node shuts down.

        `find` replaces our own: a search with a slot.
        """
        find = find or self.find
        config = self._config
        if len(self._watches) >= config.max_watches:
            raise Busy("content", f"{config.max_watches} watches are open already")
        interval_s = interval_s or config.watch_interval_s
        interval_s = min(max(interval_s, config.min_watch_interval_s), config.max_watch_interval_s)
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches.add(stopped)
        try:
            first = True
            while not stopped.done():
                try:
                    seen = watching.saw(await find(watching.content))
                except Busy:
                    if first:
                        raise
                    seen = Seen((), ())  # search again after the interval
                if first or seen.present or seen.gone:
                    yield seen
                first = False
                await asyncio.wait((stopped,), timeout=interval_s)
            raise NetworkFault("the node is shutting down")
        finally:
            self._watches.discard(stopped)

    def end_watches(self) -> None:
        """Ends all watches: the node is shutting down."""
        for stopped in self._watches:
            if not stopped.done():
                stopped.set_result(None)

    def own_offers(self) -> Iterable[Offer]:
        """This node's offers, in no particular order."""
        return self._dht.own_offers()

    def now(self) -> float:
        """Unix seconds."""
        return self._now()

    async def closest_peers(self, key: bytes, deadline_s: float | None = None) -> Sequence[PeerView]:
        """The nodes closest to a key."""
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
        """A summary of this node."""
        return self._dht.node_info()

    async def close(self) -> None:
        """Cancels the lookups still in progress."""
        for task in tuple(self._lookups):
            task.cancel()
        if self._lookups:
            await asyncio.wait(self._lookups, timeout=self._config.reply_margin_s)

    def _budget(self, ours_s: float, deadline_s: float | None) -> float:
        if deadline_s is None:
            return ours_s
        # For a very short deadline, half of it is left for the work, so that there is any answer at all.
        return min(ours_s, max(deadline_s - self._config.reply_margin_s, deadline_s / 2, 0.0))

    async def _gather(self, content: bytes, budget_s: float, found: OfferSet) -> None:
        async for offer in self._dht.find_offers(content, budget_s, found.ranks):
            found.add(offer)

    def _gathered(self, task: asyncio.Task[None]) -> None:
        self._lookups.discard(task)
        if not task.cancelled() and not isinstance(fault := task.exception(), FastmarketError | None):
            log.error("a lookup failed", exc_info=fault)


def _raise_unless_network(task: asyncio.Task[None]) -> None:
    """Raises the task's fault unless it is a `NetworkFault`, which is no reason to withhold what was
    found."""
    fault = None if task.cancelled() else task.exception()
    if fault is not None and not isinstance(fault, NetworkFault):
        raise fault
