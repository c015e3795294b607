"""Drives the offers over the engine: announcements are jobs whose outcome goes back into the schedule."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.storing import StoreResult
from fastmarket.libp2p.connection import Connection
from fastmarket.net.clock import Clock
from fastmarket.net.host import Host
from fastmarket.net.kad_node import KadNode, RunningJob
from fastmarket.net.turns import Turns
from fastmarket.offers.model import Offer, OfferTerms
from fastmarket.offers.protocol import Announcement, OfferProtocol, outcome_of
from fastmarket.offers.views import StoreOutcome

logger = logging.getLogger(__name__)


class OfferNode:
    """The offers of one node on the network."""

    def __init__(self, host: Host, kad: KadNode, offers: OfferProtocol, clock: Clock) -> None:
        self.offers = offers
        self._kad = kad
        self._clock = clock
        self._turns = Turns(clock, offers.next_timer, self._turn)
        self._announcing: dict[asyncio.Future[object], Announcement] = {}
        self._table_size = 0
        host.observers.append(self)

    def handle(self, connection: Connection, body: bytes, now: float) -> bytes | None:
        """Answers an inbound request."""
        assert connection.remote_peer is not None
        reply = self.offers.handle_request(connection.remote_peer, body, now)
        self._turns.arm()
        return reply

    async def register(self, terms: OfferTerms, deadline_s: float) -> StoreOutcome:
        """Announces an offer; returns at its quorum or after `deadline_s` with how far it got by then.

        Whatever becomes of the caller, the announcement goes on.
        """
        announcement = self.offers.register(terms, self._clock.now())
        running = self._announce(announcement)
        if running is not None:
            try:
                async with asyncio.timeout(deadline_s):
                    # The quorum is the only progress there is; the storers after it need not be waited for.
                    async for _ in running.items():
                        break
            except TimeoutError:
                pass  # the counts say how far it is
        return outcome_of(announcement.job.so_far())

    async def withdraw(self, content: bytes, user_id: bytes, deadline_s: float) -> StoreOutcome:
        """Takes an own offer back; returns when every storer has answered or failed, or after `deadline_s`.

        Not at the quorum: a storer that has not heard yet would still show the offer. Raises `CallerFault`.
        """
        announcement = self.offers.withdraw(content, user_id, self._clock.now())
        running = self._announce(announcement)
        if running is not None:
            await asyncio.wait({running.result}, timeout=deadline_s)
        return outcome_of(announcement.job.so_far())

    async def find(self, content: bytes, deadline_s: float) -> AsyncIterator[Offer]:
        """Offers as they are found."""
        running = self._kad.start(self.offers.find(content, deadline_s))
        try:
            async for item in running.items():
                if isinstance(item, Offer):
                    yield item
        finally:
            running.cancel()

    def close(self) -> None:
        """Nothing is announced any more."""
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
            self._turns.arm()

    # -- announcing

    def _turn(self, now: float) -> None:
        self.offers.handle_timer(now)
        for announcement in self.offers.poll_jobs(now):
            self._announce(announcement)

    def _announce(self, announcement: Announcement) -> RunningJob | None:
        try:
            running = self._kad.start(announcement.job)
        except FastmarketError as fault:
            logger.warning("cannot announce an offer now (%s); trying again later", fault)
            self.offers.announced(announcement.offer, None, self._clock.now())
            self._turns.arm()
            return None
        self._announcing[running.result] = announcement
        running.result.add_done_callback(self._announced)
        return running

    def _announced(self, done: asyncio.Future[object]) -> None:
        announcement = self._announcing.pop(done)
        result = None if done.cancelled() or done.exception() else done.result()
        assert result is None or isinstance(result, StoreResult)
        self.offers.announced(announcement.offer, result, self._clock.now())
        self._turns.wake()
