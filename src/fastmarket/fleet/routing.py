"""What others ask a server of a fleet over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.public_routing import PublicRouting


class FleetRouting(PublicRouting):
    """As of a node; among the providers are servers that the shared store knows of."""

    def __init__(
        self, routing: PublicRouting, in_store: Callable[[bytes], Awaitable[Sequence[PeerInfo]]]
    ) -> None:
        self._routing = routing
        self._in_store = in_store

    def now(self) -> float:
        """Unix seconds."""
        return self._routing.now()

    def stream_providers(self, key: bytes, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """Those of the store first."""
        return self._both(key, self._routing.stream_providers(key, deadline_s=deadline_s))

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """From the network."""
        return self._routing.stream_peer(peer_id, deadline_s=deadline_s)

    def stream_closest(self, key: bytes, *, deadline_s: float) -> AsyncGenerator[PeerInfo, None]:
        """From the network."""
        return self._routing.stream_closest(key, deadline_s=deadline_s)

    async def _both(
        self, key: bytes, found: AsyncGenerator[PeerInfo, None]
    ) -> AsyncGenerator[PeerInfo, None]:
        async with aclosing(found):
            for peer in await self._in_store(key):
                yield peer
            async for peer in found:
                yield peer
