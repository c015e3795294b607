"""What others ask a server of a fleet over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from fastmarket.errors import QuorumFailed, StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.records.record import DEFAULT_RULES, rule_for
from fastmarket.kad.records.signed_values import ipns_key
from fastmarket.net.public_routing import OFFER_TRANSFER, FoundPeer, FoundPeers, PublicRouting, check_latest


@dataclass(frozen=True, slots=True)
class InStore:
    """What the shared store knows: `holders` of offers for a content, a `value` under a key; `put` puts one.
    All raise StorageFault."""

    holders: Callable[[bytes], Awaitable[Sequence[PeerInfo]]]
    value: Callable[[bytes], Awaitable[bytes | None]]
    put: Callable[[bytes, bytes], Awaitable[None]]


class FleetRouting(PublicRouting):
    """As of a node; among the holders of offers are servers that the shared store knows of."""

    def __init__(self, routing: PublicRouting, store: InStore) -> None:
        self._routing = routing
        self._store = store

    def now(self) -> float:
        """Unix seconds."""
        return self._routing.now()

    def stream_providers(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """Holders in the store first."""
        return self._both(key, self._routing.stream_providers(key, deadline_s=deadline_s))

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> FoundPeers:
        """From the network."""
        return self._routing.stream_peer(peer_id, deadline_s=deadline_s)

    def stream_closest(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """From the network."""
        return self._routing.stream_closest(key, deadline_s=deadline_s)

    async def get_ipns(self, name: PeerId, *, deadline_s: float) -> bytes | None:
        """The later of what the network and the store have."""
        key = ipns_key(name)
        held = await self._value(key)
        found = await self._routing.get_ipns(name, deadline_s=deadline_s)
        if held is None or found is None:
            return found or held
        return (found, held)[rule_for(DEFAULT_RULES, key).select(key, (found, held))]

    async def put_ipns(self, name: PeerId, record: bytes, *, deadline_s: float) -> None:
        """As of a node, and when the store has it; the store is enough where no other node is there.

        Raises StorageFault, too.
        """
        key = ipns_key(name)
        held = await self._value(key)
        check_latest(key, record, held)
        try:
            await self._routing.put_ipns(name, record, deadline_s=deadline_s)
        except QuorumFailed as fault:
            if fault.asked:
                raise
        await self._store.put(key, record)

    async def _value(self, key: bytes) -> bytes | None:
        try:
            return await self._store.value(key)
        except StorageFault:
            return None

    async def _both(self, key: bytes, found: FoundPeers) -> FoundPeers:
        async with aclosing(found):
            try:
                holders = await self._store.holders(key)
            except StorageFault:
                holders = ()
            for peer in holders:
                yield FoundPeer(peer, (OFFER_TRANSFER,))
            known = {peer.peer_id for peer in holders}
            async for one in found:
                if one.peer.peer_id not in known:
                    yield one
