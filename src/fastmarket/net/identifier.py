"""Identify on every connection: announces our addresses and protocols, and learns the peer's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastmarket._version import __version__
from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.faults import Faults
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import encode_peer_record
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.events import (
    Event,
    NegotiationFailed,
    StreamData,
    StreamEnded,
    StreamReset,
)
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    PUSH_PROTOCOL,
    IdentifyCollector,
    IdentifyInfo,
    IdentifyPushResponder,
    IdentifyResponder,
    apply_push,
    identify_body,
    observing,
)
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.observed import Report
from fastmarket.libp2p.peerstore import PeerStore
from fastmarket.libp2p.streams import ResponderFactory
from fastmarket.net.addresses import OwnAddresses, is_loopback
from fastmarket.net.link import Link

logger = logging.getLogger(__name__)

AGENT_VERSION = f"fastmarket/{__version__}"
PROTOCOL_VERSION = "/fastmarket/id/1.0.0"

# py-libp2p 0.8 serves twelve Kad streams in all, idle ones included, and adds a peer to its table only when
# that peer opens a stream: so it gets a stream for each request.
SINGLE_REQUEST_AGENTS = ("py-libp2p/",)

OnIdentified = Callable[[Link, IdentifyInfo, float], None]


@dataclass(slots=True)
class _Asked:
    """An identify request of ours, until its stream ends."""

    link: Link
    collector: IdentifyCollector
    deadline: float


class Identifier:
    """Identify and push for all connections of a host.

    `on_identified(link, info, now)` is called for the first identify of a peer and for every push after it.
    """

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        protocols: dict[str, ResponderFactory | None],
        link_of: Callable[[RemotePeer], Link | None],
        on_identified: OnIdentified,
        now: float,
        faults: Faults,
    ) -> None:
        self._faults = faults
        self.addresses = OwnAddresses(identity.peer_id, config.host.announce, faults=faults)
        self.addresses.on_changed.append(self._addresses_changed)
        self.store = PeerStore(config.connection)
        self._identity = identity
        self._timeout_s = config.host.identify_timeout_s
        self._protocols = protocols
        self._link_of = link_of
        self._on_identified = on_identified
        # Sequence number of our signed record; others compare it with one of an earlier run.
        self._seq = int(now)
        self._records: dict[tuple[Multiaddr, ...], bytes] = {}
        self._bodies: dict[bool, tuple[tuple[str, ...], bytes]] = {}  # our messages, for near and far peers
        self._asked: dict[tuple[Link, int], _Asked] = {}
        protocols[IDENTIFY_PROTOCOL] = IdentifyResponder.factory(lambda peer: self._message_for(peer.addr))
        protocols[PUSH_PROTOCOL] = IdentifyPushResponder.factory(self._pushed)

    def _addresses_changed(self) -> None:
        """New records replace the old ones; `push` sends them to peers that have the old ones."""
        self._seq += 1
        self._records.clear()
        self._bodies.clear()

    def begin(self, link: Link, now: float) -> None:
        """Requests identify on a connection that has just opened."""
        try:
            stream_id = link.connection.open_stream([IDENTIFY_PROTOCOL], now, lazy=True)
        except FastmarketError:
            return  # already closed, by data after its handshake
        collector = IdentifyCollector(remote_peer=link.remote_peer)
        self._asked[link, stream_id] = _Asked(link, collector, now + self._timeout_s)
        link.connection.close_write(stream_id, now)

    def push(self, link: Link, now: float) -> None:
        """Tells an identified peer what has changed."""
        if link.identified is None or PUSH_PROTOCOL not in link.identified.protocols:
            return
        try:
            stream_id = link.connection.open_stream([PUSH_PROTOCOL], now, lazy=True)
            link.connection.send(stream_id, self._message_for(link.connection.remote_addr), now)
            link.connection.close_write(stream_id, now)
        except FastmarketError as fault:
            logger.debug("identify push to %s failed: %s", link.remote_peer, fault)
        link.wake()

    def feed(self, link: Link, event: Event, now: float) -> bool:
        """Takes the events of identify streams; False for any other."""
        stream_id = getattr(event, "stream_id", None)
        asked = None if stream_id is None else self._asked.get((link, stream_id))
        if asked is None or stream_id is None:
            return False
        try:
            if isinstance(event, StreamData):
                asked.collector.feed(event.data)
                link.connection.consumed(stream_id, len(event.data), now)
            elif isinstance(event, StreamEnded):
                del self._asked[link, stream_id]
                self._learn(link, asked.collector.finish(), now)
            elif isinstance(event, StreamReset | NegotiationFailed):
                raise PeerFault("does not answer identify")
        except PeerFault as fault:
            self._asked.pop((link, stream_id), None)
            link.connection.reset(stream_id, now)
            logger.debug("cannot identify %s: %s", link.remote_peer, fault)
        return True

    def sweep(self, links: Iterable[Link], now: float) -> None:
        """Gives up on peers that do not identify themselves; re-evaluates our own addresses."""
        for (link, stream_id), asked in list(self._asked.items()):
            if asked.deadline <= now or not link.is_open:
                del self._asked[link, stream_id]
                self._faults.run("giving up on an identify", self._give_up, link, stream_id, now)
        for link in links:  # what a peer observed is valid while its connection is open
            if not self._faults.run("recording an observed address", self._note_observed, link, now):
                link.abort()  # it would fail again
        self.addresses.refresh(now)

    @staticmethod
    def _give_up(link: Link, stream_id: int, now: float) -> None:
        link.connection.reset(stream_id, now)
        link.wake()

    def _note_observed(self, link: Link, now: float) -> None:
        info = link.identified
        if not link.is_open or info is None or info.observed_addr is None:
            return
        peer, remote = link.remote_peer, link.connection.remote_addr
        if peer is not None and remote is not None:
            dialed_us = link.role is Role.LISTENER
            self.addresses.report(Report(peer, remote, info.observed_addr, dialed_us), now)

    def _learn(self, link: Link, info: IdentifyInfo, now: float) -> None:
        assert link.remote_peer is not None
        link.identified = info
        self.store.identified(link.remote_peer, info, now)
        self._note_observed(link, now)
        keep = not info.agent_version.startswith(SINGLE_REQUEST_AGENTS)
        link.requests.set_protocols(frozenset(info.protocols), keep=keep)
        self._on_identified(link, info, now)
        link.identity_known.set()

    def _pushed(self, peer: RemotePeer, info: IdentifyInfo, now: float) -> None:
        link = self._link_of(peer)
        if link is not None:
            self._learn(link, apply_push(link.identified or IdentifyInfo(), info), now)

    def _message_for(self, remote: Multiaddr | None) -> bytes:
        protocols = tuple(self._protocols)
        near = remote is not None and is_loopback(remote)
        encoded_for, body = self._bodies.get(near, ((), b""))
        if encoded_for != protocols:
            body = self._encoded(tuple(self.addresses.told_to(remote)), protocols)
            self._bodies[near] = protocols, body
        return observing(body, remote)

    def _encoded(self, addrs: tuple[Multiaddr, ...], protocols: tuple[str, ...]) -> bytes:
        return identify_body(
            IdentifyInfo(
                public_key=self._identity.public_key,
                listen_addrs=addrs,
                protocols=protocols,
                protocol_version=PROTOCOL_VERSION,
                agent_version=AGENT_VERSION,
                signed_peer_record=self._record(addrs),
            )
        )

    def _record(self, addrs: tuple[Multiaddr, ...]) -> bytes:
        """The signed record; one signature for each set of addresses."""
        if not addrs:
            return b""
        if addrs not in self._records:
            self._records[addrs] = encode_peer_record(self._identity, addrs, self._seq)
        return self._records[addrs]
