"""A libp2p host on asyncio: listens, dials, identifies, and carries requests to peers by their id.

No task, future or coroutine is made for an inbound request, nor for an outbound one over an open connection;
a dial is a task.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault, DialFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.connection import Connection
from fastmarket.libp2p.dialing import DialBook
from fastmarket.libp2p.events import Closed, Event, Opened, ResponderFailed
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.peerstore import AddrSource, worth_keeping
from fastmarket.libp2p.requests import Failed, Outcome, RequestPool
from fastmarket.libp2p.streams import ResponderFactory, RpcHandler, RpcResponder
from fastmarket.libp2p.upgrade import Endpoint, Role
from fastmarket.net.clock import Clock
from fastmarket.net.dialer import DialEnd, Dialer
from fastmarket.net.identifier import Identifier
from fastmarket.net.link import Link
from fastmarket.net.streams import StreamTable

logger = logging.getLogger(__name__)

Done = Callable[[Outcome], None]


class HostObserver(Protocol):
    """Learns who is there; called from within a link's turn."""

    def peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None: ...

    def peer_disconnected(self, peer_id: PeerId, now: float) -> None: ...

    def peer_unreachable(self, peer_id: PeerId, now: float) -> None: ...


@dataclass(slots=True)
class _Waiting:
    """Requests that wait for a dial to end."""

    task: asyncio.Task[Link]
    requests: list[tuple[int, Sequence[Choice], float]] = field(default_factory=list)


class Host:
    """All connections of one node."""

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        clock: Clock,
    ) -> None:
        self.identity = identity
        self.clock = clock
        self.observers: list[HostObserver] = []
        self.peers: dict[PeerId, list[Link]] = {}
        self._config = config
        self._protocols: dict[str, ResponderFactory | None] = {}
        self._endpoint = Endpoint.create(identity, os.urandom, self._protocols, config.connection)
        self.identifier = Identifier(
            identity, config, self._protocols, self._link_of, self._on_identified, clock.now()
        )
        self.identifier.addresses.changed.append(self._push_addresses)
        self.streams = StreamTable(clock, self._protocols)
        self._links: set[Link] = set()
        self._pending_inbound = 0
        self._servers: list[asyncio.Server] = []
        self._dialer = Dialer(config.host, self._outbound_link, self._tried)
        self._dial_book = DialBook(config.connection)
        self._dials: dict[PeerId, _Waiting] = {}
        self._done: dict[int, Done] = {}
        self._next_request = 1
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def peer_id(self) -> PeerId:
        """This node."""
        return self.identity.peer_id

    @property
    def connections(self) -> int:
        """Open or opening, both directions."""
        return len(self._links)

    def serve(self, protocol: str, handle: RpcHandler, limit: int) -> None:
        """Answers requests of at most `limit` bytes in a protocol of uvarint-framed requests and replies."""
        self._protocols[protocol] = RpcResponder.factory(handle, limit)

    # -- listening

    async def listen(self, addr: Multiaddr) -> list[Multiaddr]:
        """Listens there; the addresses others may use, several for 0.0.0.0. Raises CallerFault."""
        endpoint = addr.host_port()
        if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
            raise CallerFault("listen", f"{addr}: expects /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT")
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                self._inbound_link, endpoint.host, endpoint.port, reuse_address=True, backlog=512
            )
        except OSError as error:
            raise CallerFault("listen", f"{addr}: {os.strerror(error.errno or 0).lower()}") from None
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return self.identifier.addresses.listen_on(endpoint.host, port, self.clock.now())

    def _push_addresses(self) -> None:
        for link in self._links:
            self.identifier.push(link, self.clock.now())

    @property
    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """What this node listens on, without /p2p, one for each interface."""
        return self.identifier.addresses.listening

    # -- connecting

    def link_to(self, peer_id: PeerId) -> Link | None:
        """The open connection to a peer that requests go over."""
        links = self.peers.get(peer_id)
        return links[0] if links else None

    async def connect(self, peer: PeerInfo) -> Link:
        """An open connection, the one there is or a new one. Raises DialFailed."""
        link = self.link_to(peer.peer_id)
        if link is not None:
            return link
        # A caller that gives up must not take the dial away from the others who wait for it.
        task = self._dial(peer).task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise DialFailed("this node is stopping", peer=peer.peer_id) from None
            raise

    def _dial(self, peer: PeerInfo) -> _Waiting:
        waiting = self._dials.get(peer.peer_id)
        if waiting is None:
            waiting = self._dials[peer.peer_id] = _Waiting(asyncio.ensure_future(self._reach(peer)))
            waiting.task.add_done_callback(lambda task: self._dialed(peer.peer_id, task))
        return waiting

    async def _reach(self, peer: PeerInfo) -> Link:
        if peer.peer_id == self.peer_id:
            raise DialFailed("that is this node itself", peer=peer.peer_id)
        if self._closing:
            raise DialFailed("this node is stopping", peer=peer.peer_id)
        if len(self._dials) > self._config.host.max_queued_dials:
            raise DialFailed("too many dials wait already", peer=peer.peer_id)
        return await self._dialer.dial(peer.peer_id, self._candidates(peer))

    def forgive(self, addrs: Iterable[Multiaddr]) -> None:
        """Somebody wants these addresses tried now, however often they failed."""
        for addr in addrs:
            self._dial_book.succeeded(addr)

    def _candidates(self, peer: PeerInfo) -> list[Multiaddr]:
        """What identify told and the caller knows, without ours (NAT, copied settings) and those that failed
        lately."""
        now = self.clock.now()
        known = [*self.identifier.store.addrs(peer.peer_id, now), *peer.addrs]
        own = self.identifier.addresses
        return [addr for addr in self._dial_book.order(known, now) if addr not in own and worth_keeping(addr)]

    def _tried(self, peer_id: PeerId, addr: Multiaddr, end: DialEnd) -> None:
        now = self.clock.now()
        if end is DialEnd.DEAD:
            self._dial_book.failed(addr, now)
        elif end is DialEnd.WRONG:  # the address is fine, but it is somebody else's
            self.identifier.store.forget(peer_id, addr)
        else:
            self._dial_book.succeeded(addr)
            self.identifier.store.add(peer_id, [addr], AddrSource.DIALED, now)

    def _dialed(self, peer_id: PeerId, task: asyncio.Task[Link]) -> None:
        waiting = self._dials.pop(peer_id)
        link = None if task.cancelled() or task.exception() is not None else task.result()
        now = self.clock.now()
        if link is None:
            logger.debug(
                "cannot reach %s: %s", peer_id, task.exception() if not task.cancelled() else "stopped"
            )
            for observer in self.observers:
                observer.peer_unreachable(peer_id, now)
        for request_id, choices, deadline in waiting.requests:
            if link is None:
                self._finish(Failed(request_id, FailureKind.UNREACHABLE))
            else:
                link.requests.request(request_id, choices, now, deadline)
        if link is not None:
            link.wake()

    # -- requests

    def request(self, peer: PeerInfo, choices: Sequence[Choice], deadline: float, done: Done) -> None:
        """One request to a peer, over its connection or after dialing it. `done` is called once, with the
        first outcome."""
        request_id = self._next_request
        self._next_request += 1
        self._done[request_id] = done
        link = self.link_to(peer.peer_id)
        if link is not None:
            link.requests.request(request_id, choices, self.clock.now(), deadline)
            link.wake()
            return
        waiting = self._dial(peer)
        if len(waiting.requests) >= self._config.host.max_waiting_requests:
            self._finish(Failed(request_id, FailureKind.BUSY))
        else:
            waiting.requests.append((request_id, choices, deadline))

    def _finish(self, outcome: Outcome) -> None:
        done = self._done.pop(outcome.request_id, None)
        if done is not None:
            done(outcome)

    # -- LinkOwner

    def make_connection(
        self, role: Role, remote_addr: Multiaddr | None, expected_peer: PeerId | None
    ) -> tuple[Connection, RequestPool]:
        connection = Connection(
            self._endpoint,
            role,
            now=self.clock.now(),
            expected_peer=expected_peer,
            remote_addr=remote_addr,
        )
        return connection, RequestPool(connection)

    def link_made(self, link: Link) -> bool:
        bounds = self._config.host
        if self._closing or len(self._links) >= bounds.max_connections:
            return False
        if link.role is Role.LISTENER:
            if self._pending_inbound >= bounds.max_pending_inbound:
                return False
            self._pending_inbound += 1
            link.handshake.add_done_callback(self._inbound_settled)
        self._links.add(link)
        if self._sweeper is None:
            self._sweep_later()
        return True

    def _inbound_settled(self, handshake: asyncio.Future[None]) -> None:
        self._pending_inbound -= 1

    def link_event(self, link: Link, event: Event, now: float) -> None:
        if self.identifier.feed(link, event, now) or self.streams.feed(link, event):
            return
        if type(event) is Opened:
            self.peers.setdefault(event.peer, []).append(link)
            self.identifier.begin(link, now)
        elif type(event) is ResponderFailed:
            logger.error("%s: answering %s failed", event.protocol, link.remote_peer, exc_info=event.error)
        elif type(event) is Closed:
            logger.debug("connection to %s closed: %s", link.remote_peer, event.reason)

    def link_outcome(self, link: Link, outcome: Outcome) -> None:
        self._finish(outcome)

    def link_turned(self, link: Link) -> None:
        self.streams.turned(link)

    def link_lost(self, link: Link) -> None:
        self.streams.lost(link)
        self._links.discard(link)
        peer_id = link.remote_peer
        links = self.peers.get(peer_id) if peer_id is not None else None
        if peer_id is None or links is None or link not in links:
            return
        links.remove(link)
        if not links:
            del self.peers[peer_id]
            for observer in self.observers:
                observer.peer_disconnected(peer_id, self.clock.now())

    def _link_of(self, connection: Connection) -> Link | None:
        links = self.peers.get(connection.remote_peer, ()) if connection.remote_peer is not None else ()
        return next((link for link in links if link.connection is connection), None)

    def _on_identified(self, link: Link, info: IdentifyInfo, now: float) -> None:
        assert link.remote_peer is not None
        peer = PeerInfo(link.remote_peer, self.identifier.store.addrs(link.remote_peer))
        for observer in self.observers:
            observer.peer_identified(peer, frozenset(info.protocols), now)

    # -- ending

    async def close(self) -> None:
        """Stops listening, says good-bye on every connection, and ends what does not end by itself."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        dials = [waiting.task for waiting in self._dials.values()]
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        await self.streams.close()
        now = self.clock.now()
        ends = [link.ended for link in self._links]
        for link in self._links:
            link.close(now)
        if ends:
            await asyncio.wait(ends, timeout=self._config.host.close_grace_s)
        for link in tuple(self._links):
            link.abort()
        for server in self._servers:
            await server.wait_closed()

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._config.host.idle_sweep_s, self._sweep)

    def _sweep(self) -> None:
        """Closes connections that nobody has used for a while."""
        now = self.clock.now()
        self.identifier.sweep(self._links, now)
        for link in self._links:
            if link.is_open and link.connection.streams == 0 and link.requests.pending == 0:
                if now - link.last_used >= self._config.host.idle_timeout_s:
                    link.close(now)
            else:
                link.last_used = now
        self._sweep_later()

    def _inbound_link(self) -> Link:
        return Link(self, self.clock, Role.LISTENER)

    def _outbound_link(self, expected_peer: PeerId) -> Link:
        return Link(self, self.clock, Role.DIALER, expected_peer=expected_peer)
