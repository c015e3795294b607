"""What is known about peers: their addresses, how far these are trusted, and their protocols."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address
from math import inf

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import MULTIADDR_CACHE, Multiaddr
from fastmarket.libp2p.identify import IdentifyInfo


class AddrSource(IntEnum):
    """How we learned an address; higher values are trusted more."""

    HINT = 1  # from a third party (Kad); expires
    GIVEN = 2  # from our operator or caller
    DIALED = 3  # it once led to the peer
    IDENTIFY = 4  # the peer itself says it listens there
    CERTIFIED = 5  # the peer signed it


@dataclass(frozen=True, slots=True)
class _Known:
    """One address of one peer."""

    source: AddrSource
    learned_at: float


_PROVEN = (AddrSource.GIVEN, AddrSource.DIALED)


class _Peer:
    """Everything known about one peer."""

    __slots__ = ("addrs", "agent", "protocols")

    def __init__(self) -> None:
        self.addrs: dict[Multiaddr, _Known] = {}
        self.protocols: frozenset[str] | None = None
        self.agent = ""


class PeerStore:
    """Limited in peers (the least recently used is dropped first) and in addresses per peer (the least
    trusted).

    Peers known only from reports, their own or others', are dropped before those that we dialed or were
    given: ids cost nothing to make up.

    Addresses are stored without their /p2p part. The remote address of an inbound connection must not be
    added: its port is the dialer's ephemeral one, where nothing listens.
    """

    __slots__ = ("_config", "_peers", "_unproven", "changed")

    def __init__(self, config: ConnectionConfig) -> None:
        self.changed: Callable[[PeerId], None] = lambda peer_id: None
        """Called when a peer's addresses may have changed; not when hints expire."""
        self._config = config
        self._peers: OrderedDict[PeerId, _Peer] = OrderedDict()  # least recently touched first
        # Those of them that were never dialed or given, in the same order.
        self._unproven: OrderedDict[PeerId, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def add(self, peer_id: PeerId, addrs: Iterable[Multiaddr], source: AddrSource, now: float) -> None:
        """Adds addresses; a known one keeps the better of its sources."""
        peer = self._touch(peer_id, source)
        for addr in addrs:
            plain = addr.without_peer()
            if addr.peer_id in (None, peer_id) and worth_keeping(plain):
                known = peer.addrs.get(plain)
                better = source if known is None else max(source, known.source)
                peer.addrs[plain] = _Known(better, now)
        self._shorten(peer, now)
        self.changed(peer_id)

    def identified(self, peer_id: PeerId, info: IdentifyInfo, now: float) -> None:
        """The peer's complete own description: replaces everything it said before."""
        peer = self._touch(peer_id, AddrSource.IDENTIFY)
        peer.protocols = frozenset(info.protocols)
        peer.agent = info.agent_version
        for addr, known in list(peer.addrs.items()):
            if known.source >= AddrSource.IDENTIFY:
                del peer.addrs[addr]
        source = AddrSource.CERTIFIED if info.certified else AddrSource.IDENTIFY
        self.add(peer_id, info.listen_addrs, source, now)

    def addrs(self, peer_id: PeerId, now: float | None = None) -> tuple[Multiaddr, ...]:
        """Most trusted first, then newest first; expired hints are left out if `now` is given."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return ()
        if now is not None:
            self._shorten(peer, now)
        ranked = sorted(peer.addrs.items(), key=lambda item: (-item[1].source, -item[1].learned_at))
        return tuple(addr for addr, _ in ranked)

    def hints_until(self, peer_id: PeerId) -> float:
        """When the first of the peer's addresses expires as a hint."""
        peer = self._peers.get(peer_id)
        known = () if peer is None else peer.addrs.values()
        learned = (addr.learned_at for addr in known if addr.source is AddrSource.HINT)
        return min(learned, default=inf) + self._config.hint_ttl_s

    def protocols(self, peer_id: PeerId) -> frozenset[str] | None:
        """As last identified; None if never."""
        peer = self._peers.get(peer_id)
        return None if peer is None else peer.protocols

    def agent(self, peer_id: PeerId) -> str:
        """The agentVersion; empty if never identified."""
        peer = self._peers.get(peer_id)
        return "" if peer is None else peer.agent

    def forget(self, peer_id: PeerId, addr: Multiaddr) -> None:
        """`addr` turned out to belong to another peer, or to none."""
        peer = self._peers.get(peer_id)
        if peer is not None:
            peer.addrs.pop(addr.without_peer(), None)
            self.changed(peer_id)

    def _touch(self, peer_id: PeerId, source: AddrSource) -> _Peer:
        peer = self._peers.get(peer_id)
        if source in _PROVEN:
            self._unproven.pop(peer_id, None)
        elif peer is None or peer_id in self._unproven:
            self._unproven[peer_id] = None
            self._unproven.move_to_end(peer_id)
        if peer is None:
            peer = self._peers[peer_id] = _Peer()
            if len(self._peers) > self._config.max_known_peers:
                # Never the new one: it is about to be reported, and would then have no addresses.
                oldest = next(iter(self._unproven), peer_id)
                self._forget_peer(oldest if oldest != peer_id else next(iter(self._peers)))
        else:
            self._peers.move_to_end(peer_id)
        return peer

    def _forget_peer(self, peer_id: PeerId) -> None:
        del self._peers[peer_id]
        self._unproven.pop(peer_id, None)
        self.changed(peer_id)

    def _shorten(self, peer: _Peer, now: float) -> None:
        """Drops expired hints, then the least trusted and oldest addresses beyond the limit."""
        oldest_hint = now - self._config.hint_ttl_s
        for addr, known in list(peer.addrs.items()):
            if known.source is AddrSource.HINT and known.learned_at < oldest_hint:
                del peer.addrs[addr]
        while len(peer.addrs) > self._config.max_peer_addresses:
            worst = min(peer.addrs, key=lambda addr: (peer.addrs[addr].source, peer.addrs[addr].learned_at))
            del peer.addrs[worst]


@lru_cache(maxsize=MULTIADDR_CACHE)
def worth_keeping(addr: Multiaddr) -> bool:
    """False for an address that cannot be dialed: unspecified, multicast, or port 0.

    Addresses of other transports are kept: they are the peer's, and others may ask us for them.
    """
    endpoint = addr.host_port()
    if endpoint is None:
        return True
    if endpoint.port == 0:
        return False
    if endpoint.kind not in ("ip4", "ip6"):
        return True
    host = ip_address(endpoint.host)
    return not (host.is_unspecified or host.is_multicast)
