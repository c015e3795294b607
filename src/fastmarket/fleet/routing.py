"""The HTTP routing API of a server in a fleet."""

from __future__ import annotations

from contextlib import aclosing

from fastmarket.errors import QuorumFailed, StorageFault
from fastmarket.fleet.offers import FleetOffers
from fastmarket.fleet.values import FleetValues
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.records.record import DEFAULT_RULES, rule_for
from fastmarket.kad.records.signed_values import ipns_key
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.public_routing import FoundPeer, FoundPeers, check_latest, holder_of, offers_by_provider


class FleetRouting:
    """As for any node, with the holders known to the shared store added."""

    def __init__(self, node: DhtNode, offers: FleetOffers, values: FleetValues) -> None:
        self._node = node
        self._offers = offers
        self._values = values

    def now(self) -> float:
        """Unix seconds."""
        return self._node.now()

    def stream_providers(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """Holders in the store come first."""
        return self._both(key, self._node.public.stream_providers(key, deadline_s=deadline_s))

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> FoundPeers:
        """From the network."""
        return self._node.public.stream_peer(peer_id, deadline_s=deadline_s)

    def stream_closest(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """From the network."""
        return self._node.public.stream_closest(key, deadline_s=deadline_s)

    async def get_ipns(self, name: PeerId, *, deadline_s: float) -> bytes | None:
        """The later of the network's and the store's record."""
        key = ipns_key(name)
        held = await self._value(key)
        found = await self._node.public.get_ipns(name, deadline_s=deadline_s)
        if held is None or found is None:
            return found or held
        return (found, held)[rule_for(DEFAULT_RULES, key).select(key, (found, held))]

    async def put_ipns(self, name: PeerId, record: bytes, *, deadline_s: float) -> None:
        """As for any node, and returns when the store has it, too; without other nodes, the store suffices.

        Also raises StorageFault.
        """
        key = ipns_key(name)
        held = await self._value(key)
        check_latest(key, record, held)
        try:
            await self._node.public.put_ipns(name, record, deadline_s=deadline_s)
        except QuorumFailed as fault:
            if fault.asked:
                raise
        await self._values.put(key, record)

    async def _value(self, key: bytes) -> bytes | None:
        try:
            return await self._values.get(key)
        except StorageFault:
            return None

    async def _both(self, key: bytes, found: FoundPeers) -> FoundPeers:
        async with aclosing(found):
            holders = await self._holders(key)
            for holder in holders:
                yield holder
            known = {holder.peer.peer_id for holder in holders}
            async for one in found:
                if one.peer.peer_id not in known:
                    yield one

    async def _holders(self, content: bytes) -> list[FoundPeer]:
        """Other servers of the fleet that hold live offers, with the addresses known of them."""
        view, now = await self._offers.views.get(content), self._node.now()
        offers = offers_by_provider(offer for offer in view.live(now) if offer.provider != self._node.peer_id)
        addrs = self._node.host.identifier.store.addrs
        return [
            holder_of(FoundPeer(PeerInfo(peer, tuple(addrs(peer, now)))), own) for peer, own in offers.items()
        ]
