"""Detects another node with our key: two started from one image, or a copied data directory.

Peers take the two for one and reach sometimes one, sometimes the other; each overwrites what the other
announces. Peers tell which addresses they have for us (`kad.lookup.queries.FindSelf`): those where they last
met either of the two. If such an address is not ours, the node there is asked to prove its identity. An
address alone is hearsay; the key is proof.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.lookup.queries import FindSelf
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.outcomes import Reply, RequestResult
from fastmarket.net.host import Host
from fastmarket.net.link import Link
from fastmarket.repeating import Repeating

logger = logging.getLogger(__name__)

MAX_LOOKED_AT = 4  # addresses dialed at once; others may name any
ASK_PAUSE_S = 60.0  # between queries for our own entry; one small request
LOOK_PAUSE_S = 60.0  # between such dials
TELL_AGAIN_S = 3600.0  # between warnings
IDENTIFY_S = 5.0  # for the node there to identify itself


class Twins:
    """Queries peers for our own entry, dials addresses that are not ours, one at a time, and warns."""

    def __init__(self, host: Host, engine: Engine) -> None:
        self._host = host
        self._engine = engine
        self._asking = Repeating(
            "asking peers which addresses they know of us", lambda: ASK_PAUSE_S, self.ask, host.faults
        )
        self._look: asyncio.Task[None] | None = None
        self._look_at = self._warn_at = float("-inf")  # not earlier
        self.found_at: Multiaddr | None = None
        """Where another node with our key was last found."""
        host.on_own_key_met = self._on_met

    def start(self) -> None:
        """Starts the queries, unless they have been started."""
        if not self._asking.running:
            self._asking.start()

    def ask(self) -> None:
        """Queries the closest connected peer for our entry."""
        host, config = self._host, self._engine.config
        near = self._engine.closest(host.peer_id.raw, config.k)
        peer = next((one for one in near if host.link_to(one.peer_id) is not None), None)
        if peer is None:
            return
        find, now = FindSelf(config, host.peer_id, self.on_named), host.clock.now()

        def done(outcome: RequestResult) -> None:
            if isinstance(outcome, Reply):
                with suppress(PeerFault):  # a lookup that meets it will report it
                    find.read(peer, outcome.protocol, outcome.payload, host.clock.now())

        host.request(peer, find.choices(peer), now + config.request_timeout_s, done)

    def on_named(self, us: PeerInfo) -> None:
        """A peer has these addresses for us."""
        now = self._host.clock.now()
        own = self._host.identifier.addresses
        foreign = [addr for addr in us.addrs if addr not in own and addr.host_port() is not None]
        if not foreign or now < self._look_at or (self._look is not None and not self._look.done()):
            return
        self._look_at = now + LOOK_PAUSE_S
        self._look = asyncio.ensure_future(self._look_there(foreign[:MAX_LOOKED_AT]))

    async def _look_there(self, addrs: Iterable[Multiaddr]) -> None:
        for addr in addrs:
            try:
                link = await self._host.dials.prove(self._host.peer_id, addr)
            except FastmarketError as fault:
                logger.debug("no node with our key at %s: %s", addr, fault)
                continue
            try:
                async with asyncio.timeout(IDENTIFY_S):
                    await asyncio.shield(link.identity_known.wait())
            except TimeoutError:
                continue
            finally:
                ourselves = any(one.role is Role.LISTENER for one in self._with_our_key())
                link.close(self._host.clock.now())
            if not ourselves:  # otherwise an unknown address of this node
                self._warn(addr)

    def _with_our_key(self) -> Iterable[Link]:
        return self._host.links.by_peer.get(self._host.peer_id, ())

    def _on_met(self, link: Link) -> None:
        """An inbound connection has our key: another node, unless we are dialing one just now."""
        if self._look is None or self._look.done():
            self._warn(link.connection.remote_addr)

    def _warn(self, addr: Multiaddr | None) -> None:
        self.found_at = addr
        now = self._host.clock.now()
        if now >= self._warn_at:
            self._warn_at = now + TELL_AGAIN_S
            logger.warning(
                "another node uses this node's key, at %s: peers take the two for one, and lose offers of "
                "either; give each its own data directory, or key",
                addr,
            )

    async def close(self) -> None:
        """Ends queries and dials."""
        await self._asking.stop()
        self._look_at = float("inf")
        if self._look is not None:
            self._look.cancel()
