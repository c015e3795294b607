"""Lookups on behalf of others: what the HTTP routing API asks of the node."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.finding import FindPeer
from fastmarket.kad.lookup_job import LookupResult
from fastmarket.net.clock import Clock
from fastmarket.net.host import Host
from fastmarket.net.kad_node import KadNode, RunningJob


class PublicRouting:
    """The lookups of one node as streams. Each begins with the call, which raises Busy."""

    def __init__(self, host: Host, kad: KadNode, clock: Clock) -> None:
        self._host = host
        self._kad = kad
        self._clock = clock

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.now()

    def stream_providers(self, key: bytes, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """Providers of a key, holders of offers for it included, as they are found."""
        job = self._kad.engine.find_providers(key, self.now(), None, deadline_s)
        return self._found(self._kad.start(job))

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """The peer with its addresses: as we know them, else as the network does."""
        known = self._known(PeerInfo(peer_id))
        if known.addrs:
            return _just(known)
        job = self._kad.engine.lookup_job(peer_id.raw, FindPeer(self._kad.engine.config, peer_id), deadline_s)
        return self._found(self._kad.start(job))

    def stream_closest(self, key: bytes, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """The k closest peers to a key, closest first, once the lookup has ended."""
        return self._closest(self._kad.start(self._kad.engine.find_node(key, deadline_s)))

    async def _found(self, running: RunningJob) -> AsyncGenerator[PeerInfo, None]:
        try:
            async with aclosing(running.items()) as items:
                async for item in items:
                    if isinstance(item, PeerInfo):
                        yield self._known(item)
        finally:
            running.cancel()

    async def _closest(self, running: RunningJob) -> AsyncGenerator[PeerInfo, None]:
        try:
            result = cast(LookupResult, await running.result)
        finally:
            running.cancel()
        for answered in result.closest:
            yield answered.peer

    def _known(self, peer: PeerInfo) -> PeerInfo:
        """With our own addresses, or those remembered of it, where it came without any."""
        if peer.addrs:
            return peer
        if peer.peer_id == self._host.peer_id:
            return PeerInfo(peer.peer_id, tuple(self._host.identifier.addresses.told_to_all()))
        return PeerInfo(peer.peer_id, tuple(self._host.identifier.store.addrs(peer.peer_id, self.now())))


async def _just(peer: PeerInfo) -> AsyncGenerator[PeerInfo, None]:
    yield peer
