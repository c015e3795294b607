"""Drives the offers over the engine: announcements are jobs whose outcome goes back into the schedule."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.records.put_job import PutResult
from fastmarket.kad.records.shares import NEARBY
from fastmarket.libp2p.connection import Connection
from fastmarket.native.sha256 import sha256_many
from fastmarket.net.batching import Gathering, Settle, Turn
from fastmarket.net.clock import Clock
from fastmarket.net.host import Host
from fastmarket.net.kad_node import KadNode, RunningJob
from fastmarket.net.pump import Pump
from fastmarket.offers.announce.clocks import side
from fastmarket.offers.announce.sweep import Settled, SweepResult
from fastmarket.offers.lookup.local_answers import LocalAnswers
from fastmarket.offers.model.offer import Offer, OfferKey, OfferTerms
from fastmarket.offers.model.results import StoreOutcome
from fastmarket.offers.protocol import Announcement, Handover, OfferProtocol, Sweep, outcome_of

logger = logging.getLogger(__name__)


class OfferNode:
    """The offers of one node on the network."""

    def __init__(
        self, host: Host, kad: KadNode, offers: OfferProtocol, clock: Clock, known: LocalAnswers
    ) -> None:
        """`known`: is told what whole searches found."""
        self._known = known
        self._faults = host.faults
        self.offers = offers
        self._kad = kad
        self._clock = clock
        self._turns = Pump(host.agenda, offers.next_timer, self._turn, self._failed)
        self._announcing: dict[asyncio.Future[object], Announcement | Sweep | Handover] = {}
        config = offers.config
        self._slices = asyncio.Semaphore(config.max_registering)
        self._gathering = Gathering(
            self._register_together, config.max_gathering, config.register_slice, config.gather_s
        )
        self._table_size = 0
        offers.many_refused = _many_refused
        host.observers.append(self)

    def handle(self, connection: Connection, body: bytes, now: float) -> bytes | None:
        """Answers an inbound request."""
        sender = connection.remote_peer
        assert sender is not None
        reply = self.offers.ready.answer(body, sender, now)
        if reply is None:
            reply = self.offers.handle_request(sender, body, now, connection.block or NEARBY)
            self._turns.arm()
        return reply

    async def register(self, terms: OfferTerms, deadline_s: float) -> StoreOutcome:
        """Announces an offer; returns at its quorum or after `deadline_s` with how far it got by then.

        Whatever becomes of the caller, the announcement goes on. Callers at the same time share the work.
        """
        if self._gathering.idle:
            with self._gathering.alone():
                return await self._register_alone(terms, deadline_s)
        outcome = self._gathering.join(terms)
        await asyncio.wait({outcome.settled}, timeout=deadline_s)
        return self._explained(outcome.so_far())

    async def _register_alone(self, terms: OfferTerms, deadline_s: float) -> StoreOutcome:
        announcement = self.offers.register(terms, self._clock.now(), deadline_s)
        running = self._announce(announcement)
        if running is not None:
            try:
                async with asyncio.timeout(deadline_s):
                    # The quorum is the only progress there is; the storers after it need not be waited for.
                    async for _ in running.items():
                        break
            except TimeoutError:
                pass  # the counts say how far it is
        return self._explained(outcome_of(announcement.job.so_far()))

    def _look_at_clock(self, now: float) -> None:
        """A clock that several peers find wrong is told of, once in a while."""
        offset_s = self.offers.clock.warning(now)
        if offset_s is not None:
            logger.warning(
                "this node's clock is about %.0f s %s its peers': set it right, or they take no offers of it",
                abs(offset_s),
                side(offset_s),
            )

    def _explained(self, outcome: StoreOutcome) -> StoreOutcome:
        """With what the storers say of our clock, if that is among the reasons."""
        if outcome.reached or "refused" not in outcome.why:
            return outcome
        said = self.offers.clock.complained(self._clock.now())
        return replace(outcome, why=f"{outcome.why}; {said}") if said else outcome

    async def register_many(self, many: Sequence[OfferTerms], deadline_s: float) -> list[StoreOutcome]:
        """As `register` for each, in the order given; slice by slice along the key space.

        A slice is signed and stored when one before has been, so that little is held at once. What the
        deadline leaves unsigned was never registered: its outcome has nobody asked and one wanted.
        """
        self.offers.own.check_room(many)
        outcomes = [StoreOutcome(0, 0, 1)] * len(many)
        keys = sha256_many([terms.content for terms in many])
        order = sorted(range(len(many)), key=keys.__getitem__)
        size = self.offers.config.register_slice
        slices = [order[at : at + size] for at in range(0, len(order), size)]
        end = self._clock.now() + deadline_s
        tasks = [asyncio.ensure_future(self._register_part(many, part, outcomes, end)) for part in slices]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=deadline_s)
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            if task.done():
                task.result()
        return [self._explained(outcome) for outcome in outcomes]

    async def _register_part(
        self, many: Sequence[OfferTerms], part: list[int], outcomes: list[StoreOutcome], end: float
    ) -> None:
        def settle(index: int, outcome: StoreOutcome, final: bool = True) -> None:
            outcomes[part[index]] = outcome
            turn.told(index)

        await self._slices.acquire()
        turn = Turn(len(part), self._slices.release)
        try:
            # Of many some may be refused for good, and whoever registers them waits for all.
            retry_s = max(min(end - self._clock.now(), self.offers.config.retry_s), 0.0)
            await self._register_slice([many[index] for index in part], settle, retry_s)
        finally:
            turn.end()

    async def _register_together(self, many: Sequence[OfferTerms], settle: Settle) -> None:
        """As `_register_slice`, for callers that wait for one each."""
        await self._register_slice(many, settle, self.offers.config.retry_s)

    async def _register_slice(self, many: Sequence[OfferTerms], settle: Settle, retry_s: float) -> None:
        """Signs, stores and announces together; ends when each has its quorum or can get none in that
        time."""
        sweep = self.offers.register_many(many, self._clock.now(), retry_s)
        places = _places(many, sweep.offers)
        running = self._announce(sweep)
        missing = len(sweep.offers)
        if running is None:
            for index in range(len(many)):
                settle(index, StoreOutcome(0, 0, 1), True)
            return
        async for item in running.items():
            assert isinstance(item, Settled)
            for final, groups in ((False, item.again), (True, item.groups)):
                for group, outcome in groups:
                    for place in group:
                        for index in places[place]:
                            settle(index, outcome, final)
                    missing -= len(group) * final
            if not missing:
                break  # the storers after the quorum need not be waited for

    async def withdraw(self, content: bytes, user_id: bytes, deadline_s: float) -> StoreOutcome:
        """Takes an own offer back; returns when every storer has answered or failed, or after `deadline_s`.

        Not at the quorum: a storer that has not heard yet would still show the offer. Raises `CallerFault`.
        """
        announcement = self.offers.withdraw(content, user_id, self._clock.now(), deadline_s)
        running = self._announce(announcement)
        if running is not None:
            await asyncio.wait({running.result}, timeout=deadline_s)
        return self._explained(outcome_of(announcement.job.so_far()))

    async def find(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        """Offers as they are found; a tombstone only where its offer came before."""
        begun = self._clock.now()
        running = self._kad.start(self.offers.find(content, deadline_s))
        told: set[OfferKey] = set()
        met: list[Offer] = []
        try:
            async for item in running.items():
                if not isinstance(item, Offer):
                    continue
                met.append(item)
                if not item.withdrawn or item.key in told:
                    told.add(item.key)
                    yield item
        finally:
            running.cancel()
        whole = running.lookup is not None and running.lookup.end is End.COMPLETE
        if whole and self._clock.now() < begun + deadline_s:
            self._known.found(content, met, begun)

    def arm(self) -> None:
        """The schedule has changed."""
        self._turns.arm()

    def close(self) -> None:
        """Nothing is announced any more."""
        self._gathering.close()
        self._turns.close()

    # -- HostObserver: only that the table may have grown matters here

    def peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        self._table_changed(now)

    def peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        self._table_changed(now)

    def peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        self._table_changed(now)

    def _table_changed(self, now: float) -> None:
        size = self._kad.engine.table_size
        if size != self._table_size:
            self._table_size = size
            self.offers.neighbours(size, now)
        self._turns.arm()  # a newcomer may be waiting

    # -- announcing

    def _turn(self, now: float) -> None:
        try:
            self.offers.handle_timer(now)
        finally:  # what is due is announced, whatever a sweep of the store raised
            for wanted in self.offers.poll_jobs(now):
                self._announce(wanted)

    def _failed(self, error: Exception) -> None:
        self._faults.tell("a turn of the offers", error)

    def _announce(self, wanted: Announcement | Sweep | Handover) -> RunningJob | None:
        try:
            running = self._kad.start(wanted.job)
        except Exception as fault:  # noqa: BLE001 - what it offers has its next turn all the same
            if isinstance(fault, FastmarketError):
                logger.warning("cannot announce offers now (%s); trying again later", fault)
            else:
                self._faults.tell("beginning to announce offers", fault)
            self._ended(wanted, None)
            self._turns.arm()
            return None
        self._announcing[running.result] = wanted
        running.result.add_done_callback(self._announced)
        return running

    def _announced(self, done: asyncio.Future[object]) -> None:
        self._turns.wake()
        result = None if done.cancelled() or done.exception() else done.result()
        self._faults.run("ending an announcement", self._ended, self._announcing.pop(done), result)

    def _ended(self, wanted: Announcement | Sweep | Handover, result: object) -> None:
        now = self._clock.now()
        self._look_at_clock(now)
        if isinstance(wanted, Sweep):
            assert result is None or isinstance(result, SweepResult)
            self.offers.swept(wanted, result, now)
        elif isinstance(wanted, Handover):
            assert result is None or isinstance(result, int)
            self.offers.handed_over(wanted, result, now)
        else:
            assert result is None or isinstance(result, PutResult)
            self.offers.announced(wanted.offer, result, now)


def _many_refused(count: int) -> None:
    logger.warning(
        "%d offers of others were refused here for their times: the clocks of their holders are wrong, or "
        "this node's is",
        count,
    )


def _places(many: Sequence[OfferTerms], offers: Sequence[Offer]) -> Sequence[Sequence[int]]:
    """For each offer, where its terms stand: of equal ones there may be several."""
    if len(offers) == len(many):
        return [(index,) for index in range(len(many))]
    places: dict[tuple[bytes, bytes], list[int]] = {}
    for index, terms in enumerate(many):
        places.setdefault((terms.content, terms.user_id), []).append(index)
    return [places[offer.content, offer.user_id] for offer in offers]
