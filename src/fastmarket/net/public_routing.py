"""Lookups on behalf of others, for the HTTP routing API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from fastmarket.core.commands import (
    Closest,
    FindOffers,
    FindPeer,
    FindProviders,
    GetValue,
    OffersFound,
    PutValue,
)
from fastmarket.errors import Busy, CallerFault, NetworkFault, PeerFault, QuorumFailed
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.signed_values import IpnsRule, ipns_key
from fastmarket.kad.records.values import GetValueResult
from fastmarket.net.clock import Clock
from fastmarket.net.driver import NodeDriver, Running
from fastmarket.net.gateways import BITSWAP_TRANSFER, gateway_addrs, transfers_of
from fastmarket.net.host import Host
from fastmarket.offers.model.offer import Offer

_IPNS_RULE = IpnsRule()
_BITSWAP = "/ipfs/bitswap"  # common prefix of all its versions


@dataclass(frozen=True, slots=True)
class FoundPeer:
    """A peer that was asked for. `transfers`: how contents are had from it, empty where that is not known;
    `connected`: it is there at this moment."""

    peer: PeerInfo
    transfers: tuple[str, ...] = ()
    connected: bool = False


FoundPeers = AsyncGenerator[FoundPeer, None]


def offers_by_provider(offers: Iterable[Offer]) -> dict[PeerId, list[Offer]]:
    """Grouped by signer, in the order of their first offers."""
    grouped: dict[PeerId, list[Offer]] = {}
    for offer in offers:
        grouped.setdefault(offer.provider, []).append(offer)
    return grouped


def holder_of(found: FoundPeer, offers: Sequence[Offer]) -> FoundPeer:
    """The peer as the holder of these offers, its gateways before its libp2p addresses."""
    peer = PeerInfo(found.peer.peer_id, (*gateway_addrs(offers), *found.peer.addrs))
    return replace(found, peer=peer, transfers=transfers_of(offers))


class Superseded(CallerFault):
    """A record that is not the latest of its name."""


def check_latest(key: bytes, record: bytes, known: bytes | None) -> None:
    """Raises Superseded, or CallerFault if it is not an IPNS record."""
    try:
        if known is not None and known != record and not _IPNS_RULE.replaces(key, record, known):
            raise Superseded("record", "a later record of this name is known")
    except PeerFault as fault:
        raise CallerFault("record", fault.reason) from None


class PublicRouting:
    """The lookups of one node as streams. A call starts the lookup, and raises Busy."""

    def __init__(self, host: Host, driver: NodeDriver, clock: Clock) -> None:
        self._host = host
        self._driver = driver
        self._core = driver.core
        self._clock = clock

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.now()

    def stream_providers(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """Providers of a key as they are found, and at the end the holders of offers for it.

        Other nodes return both alike for GET_PROVIDERS. So the offers are looked up as well, and a provider
        that may be a holder is returned once that lookup has ended.
        """
        bare = self._driver.start(FindProviders(key, None, deadline_s))
        try:
            search = self._driver.start(FindOffers(key, deadline_s))
        except BaseException:
            bare.cancel()
            raise
        return self._providers(_Sorting(self, key, search), bare, search)

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> FoundPeers:
        """The peer with its addresses, if it is there: it is connected, or answers when dialed.

        Busy may be raised with the first item, because a lookup is the last resort.
        """
        return self._peer(peer_id, self.now() + deadline_s)

    def stream_closest(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """The k closest peers to a key, closest first, once the lookup has ended."""
        return self._closest(self._driver.start(Closest(key, deadline_s)))

    async def get_ipns(self, name: PeerId, *, deadline_s: float) -> bytes | None:
        """The latest valid record of a name, among the k closest peers and here."""
        found = await self._driver.run(GetValue(ipns_key(name), Quorum.MAJORITY, deadline_s))
        record = cast(GetValueResult, found.result).record
        return None if record is None else record.value

    async def put_ipns(self, name: PeerId, record: bytes, *, deadline_s: float) -> None:
        """Stores a record of a name; returns when a majority of the closest has acknowledged it.

        The publisher, not this node, announces it again. Raises Busy, CallerFault ("record"), Superseded;
        NetworkFault if this node cannot hold it; QuorumFailed, also if no peer could acknowledge it.
        """
        key, now = ipns_key(name), self.now()
        try:
            _IPNS_RULE.validate(key, record, now)
        except PeerFault as fault:
            raise CallerFault("record", fault.reason) from None
        held = self._core.engine.handlers.valid_record(key, now)
        check_latest(key, record, None if held is None else held.value)
        try:
            running = self._driver.start(PutValue(key, record, Quorum.MAJORITY, deadline_s, once=True))
        except Busy:
            raise
        except CallerFault as fault:  # the record is good, so this node has no room
            raise NetworkFault(f"cannot hold the record: {fault.reason}") from None
        async for item in running.items():
            if isinstance(item, Outcome) and item.acknowledged:
                return  # the put continues with the rest of the closest
        outcome = (await running.finished).outcome
        assert outcome is not None
        if outcome.acknowledged and outcome.is_reached:
            return
        left_s = now + deadline_s - self.now()
        if outcome.asked and left_s > 0:  # perhaps they have a later one
            check_latest(key, record, await self.get_ipns(name, deadline_s=left_s))
        raise QuorumFailed(outcome.acknowledged, outcome.asked, max(outcome.wanted, 1))

    def describe(self, peer: PeerInfo) -> FoundPeer:
        """Adds what is known about a peer: addresses if it has none, and its protocols."""
        peer_id = peer.peer_id
        protocols = self._host.identifier.store.protocols(peer_id) or ()
        bitswap = any(protocol.startswith(_BITSWAP) for protocol in protocols)
        return FoundPeer(
            self._with_addrs(peer),
            (BITSWAP_TRANSFER,) if bitswap else (),
            peer_id == self._host.peer_id or self._host.link_to(peer_id) is not None,
        )

    def held(self, key: bytes) -> Iterable[Offer]:
        """Stored offers for a content, including withdrawn ones."""
        return self._core.offers.store.held(key)

    def speaks_offers(self, peer_id: PeerId) -> bool | None:
        """Whether the peer speaks the offer protocol; None if it was never identified."""
        if peer_id == self._host.peer_id:
            return True
        protocols = self._host.identifier.store.protocols(peer_id)
        return None if protocols is None else self._core.offers.config.protocol in protocols

    async def _providers(self, sorting: _Sorting, bare: Running, search: Running) -> FoundPeers:
        try:
            async with aclosing(_merged(bare, search)) as items:
                async for item in items:
                    for found in sorting.take(item):
                        yield found
            for found in sorting.rest():
                yield found
        finally:
            bare.cancel()
            search.cancel()

    async def _peer(self, peer_id: PeerId, deadline: float) -> FoundPeers:
        known = self.describe(PeerInfo(peer_id))
        if known.connected and known.peer.addrs:
            yield known
            return
        if peer_id == self._host.peer_id:
            return
        # Stored addresses may be outdated, and those of others are hearsay: only an answer counts.
        if known.peer.addrs and await self._answers(known.peer, deadline):
            yield self.describe(PeerInfo(peer_id))
            return
        left_s = deadline - self.now()
        if left_s <= 0:
            return
        running = self._driver.start(FindPeer(peer_id, left_s))
        told: PeerInfo | None = None
        try:
            async with aclosing(running.items()) as items:
                async for item in items:
                    if isinstance(item, PeerInfo):
                        told = item
        finally:
            running.cancel()
        if told is not None and await self._answers(told, deadline):
            yield self.describe(PeerInfo(peer_id))

    async def _answers(self, peer: PeerInfo, deadline: float) -> bool:
        """Whether there is, or can be made, a connection on which the peer identifies itself."""
        try:
            async with asyncio.timeout(max(deadline - self.now(), 0.0)):
                link = await self._host.connect(peer, given=False)
                await asyncio.shield(link.identity_known.wait())
        except (NetworkFault, TimeoutError):
            return False
        return self._host.link_to(peer.peer_id) is not None

    async def _closest(self, running: Running) -> FoundPeers:
        try:
            result = cast(LookupResult, (await running.finished).result)
        finally:
            running.cancel()
        for answered in result.closest:
            yield self.describe(answered.peer)

    def _with_addrs(self, peer: PeerInfo) -> PeerInfo:
        """Adds our own addresses, or the stored ones of the peer, if it has none."""
        if peer.addrs:
            return peer
        if peer.peer_id == self._host.peer_id:
            return PeerInfo(peer.peer_id, tuple(self._host.identifier.addresses.told_to_all()))
        return PeerInfo(peer.peer_id, tuple(self._host.identifier.store.addrs(peer.peer_id, self.now())))


class _Sorting:
    """Separates providers of a key from holders of offers for it, while both are looked up."""

    def __init__(self, routing: PublicRouting, key: bytes, search: Running) -> None:
        self._routing = routing
        self._search = search
        # The latest versions; a withdrawn one also shows that the provider's record belongs to an offer.
        self._offers = {offer.key: offer for offer in routing.held(key)}
        self._holders = {offer.provider for offer in self._offers.values()}
        self._waiting: dict[PeerId, PeerInfo] = {}  # possible holders
        self._addrs: dict[PeerId, PeerInfo] = {}  # of holders, as other nodes returned them

    def take(self, item: object) -> list[FoundPeer]:
        """Takes progress of either lookup; returns what is certain now."""
        if isinstance(item, Offer):
            self._offers[item.key] = item
            self._holders.add(item.provider)
        elif isinstance(item, PeerInfo):
            return self._take_provider(item)
        return []

    def _take_provider(self, peer: PeerInfo) -> list[FoundPeer]:
        if peer.peer_id in self._holders:
            self._addrs[peer.peer_id] = peer
        elif self._routing.speaks_offers(peer.peer_id) is False:
            return [self._routing.describe(peer)]
        else:
            self._waiting[peer.peer_id] = peer
        return []

    def rest(self) -> list[FoundPeer]:
        """Both lookups have ended: returns the rest, holders last."""
        result = self._search.finished.result().result
        whole = isinstance(result, OffersFound) and result.is_complete
        found = []
        for peer_id, peer in self._waiting.items():
            # An incomplete lookup may have missed its offer.
            if peer_id not in self._holders and (whole or not self._routing.speaks_offers(peer_id)):
                found.append(self._routing.describe(peer))
        now = self._routing.now()
        live = offers_by_provider(offer for offer in self._offers.values() if offer.is_live(now))
        for peer_id, offers in live.items():
            peer = self._addrs.get(peer_id) or self._waiting.get(peer_id) or PeerInfo(peer_id)
            found.append(holder_of(self._routing.describe(peer), offers))
        return found


_END = object()


async def _merged(*jobs: Running) -> AsyncGenerator[object, None]:
    """The progress of several jobs as it comes, until all have ended."""
    news: asyncio.Queue[object] = asyncio.Queue()

    async def pump(job: Running) -> None:
        try:
            async with aclosing(job.items()) as items:
                async for item in items:
                    news.put_nowait(item)
        finally:
            news.put_nowait(_END)

    pumps = [asyncio.ensure_future(pump(job)) for job in jobs]
    try:
        left = len(pumps)
        while left:
            item = await news.get()
            if item is _END:
                left -= 1
            else:
                yield item
        await asyncio.gather(*pumps)  # raises what one of them raised
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
