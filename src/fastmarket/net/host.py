"""A libp2p host on asyncio: listens, dials, identifies, and carries requests to peers by id.

An inbound request, or an outbound one over an open connection, needs no task, future or coroutine of its own;
a dial is a task.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Closed, Event, Opened, PingAnswered, ResponderFailed
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.ping import PING_PROTOCOL, PingResponder
from fastmarket.libp2p.requests import Failed, RequestResult
from fastmarket.libp2p.scopes import MemoryScope, NodeScope
from fastmarket.libp2p.streams import ResponderFactory, RpcHandler, RpcResponder
from fastmarket.net.clock import Clock
from fastmarket.net.connections import Connections
from fastmarket.net.dials import Dials
from fastmarket.net.identifier import Identifier
from fastmarket.net.link import Link, Traffic
from fastmarket.net.pump import RunQueue
from fastmarket.net.streams import StreamTable
from fastmarket.net.transports.table import Transports
from fastmarket.repeating import Repeating
from fastmarket.wording import why_unbound

logger = logging.getLogger(__name__)

Done = Callable[[RequestResult], None]


class HostObserver(Protocol):
    """Learns about peers; called within a link's turn."""

    def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None: ...

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None: ...

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None: ...


# A request whose connection ended before it was sent is moved to another one, at most this often.
MAX_RESENDS = 3


@dataclass(slots=True)
class _Request:
    """One request until its outcome, over whichever link there is."""

    host: Host
    request_id: int
    peer: PeerInfo
    choices: Sequence[Choice]
    deadline: float
    done: Done
    resends: int = 0

    def send(self, link: Link) -> None:
        if link.ended.is_set():  # between its handshake and now; the request would be lost
            self.host.settle(Failed(self.request_id, FailureKind.CLOSED, unsent=True))
            return
        link.requests.request(self.request_id, self.choices, self.host.clock.now(), self.deadline)
        link.wake()

    def on_unreachable(self, gone: bool) -> None:
        kind = FailureKind.GONE if gone else FailureKind.UNREACHABLE
        self.host.settle(Failed(self.request_id, kind))


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
        self.faults = Faults()
        """Reports bugs of ours, each of which costs one connection, request or turn."""
        self.run_queue = RunQueue(clock, self.faults)
        self.traffic = Traffic()
        self.observers: list[HostObserver] = []
        self.on_first_answer: Callable[[PeerId, float], None] = lambda peer_id, took_s: None
        """Called with the duration of a peer's first answer on a connection, its identify."""
        self.on_own_key_met: Callable[[Link], None] = lambda link: None
        """Called with an inbound connection whose other end proved to have our key."""
        self.memory = NodeScope(config.memory.held_bytes)
        """What peers and callers together make this node hold."""
        self._config = config
        self._protocols: dict[str, ResponderFactory | None] = {}
        self._endpoint = Endpoint.create(
            identity, os.urandom, self._protocols, config.connection, self.memory
        )
        self.transports = Transports(self, self._endpoint, clock)
        self.links = Connections(config.host, identity.peer_id, self.faults, self._endpoint.scopes)
        self.identifier = Identifier(
            identity, config, self._protocols, self.links.of, self._on_identified, clock.now(), self.faults
        )
        self.identifier.addresses.on_changed.append(self._push_addresses)
        self.streams = StreamTable(clock, self._protocols, self.faults)
        self.dials = Dials(config, clock, self.identifier, self)
        self._protocols[PING_PROTOCOL] = PingResponder.factory(
            config.connection.max_ping_streams, lambda peer: self.links.responder_count(peer, PING_PROTOCOL)
        )
        self._served: set[str] = set()
        self._requests: dict[int, _Request] = {}
        self._next_request = 1
        self._sweeper = Repeating(
            "sweeping connections", lambda: config.host.idle_sweep_s, self._sweep, self.faults
        )
        self._closing = False

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""
        return self.identity.peer_id

    @property
    def connection_count(self) -> int:
        """Open and opening, in both directions."""
        return len(self.links)

    @property
    def held_bytes(self) -> int:
        """Bytes held for peers by all connections: output not taken, requests not answered, streams."""
        return self._endpoint.scope.held

    @property
    def peers(self) -> Collection[PeerId]:
        """Peers with an open connection."""
        return self.links.by_peer.keys()

    def serve(self, protocol: str, handle: RpcHandler, limit: int) -> None:
        """Answers requests of at most `limit` bytes in a protocol with uvarint-framed requests and
        replies."""
        self._protocols[protocol] = RpcResponder.factory(handle, limit)
        self._served.add(protocol)

    # -- listening

    async def listen(self, addr: Multiaddr) -> list[Multiaddr]:
        """Listens there; returns the addresses for others, several for 0.0.0.0. Raises CallerFault."""
        try:
            bound = await self.transports.listen(addr)
        except OSError as error:
            raise CallerFault("listen", f"{addr} {why_unbound(error)}") from None
        return self.identifier.addresses.listen_on(bound.host, bound.port, self.clock.now())

    def _push_addresses(self) -> None:
        for link in self.links.all():
            self.identifier.push(link, self.clock.now())

    @property
    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses this node listens on, without /p2p, one for each interface."""
        return self.identifier.addresses.listening

    # -- connecting

    def link_to(self, peer_id: PeerId) -> Link | None:
        """The open connection that carries requests to a peer."""
        return self.links.to(peer_id)

    async def connect(self, peer: PeerInfo, *, given: bool = True) -> Link:
        """An open connection: the existing one or a new one. Raises DialFailed.

        `given`: our operator or program supplied the addresses; otherwise they are a stranger's word.
        """
        return self.link_to(peer.peer_id) or await self.dials.reach(peer, given=given)

    def on_unreachable(self, peer_id: PeerId) -> None:
        for observer in self.observers:
            self.faults.run(
                "reporting an unreachable peer", observer.on_peer_unreachable, peer_id, self.clock.now()
            )

    # -- requests

    def request(self, peer: PeerInfo, choices: Sequence[Choice], deadline: float, done: Done) -> None:
        """Sends one request to a peer, over its connection or after dialing it. `done` is called once, with
        the first outcome."""
        request_id = self._next_request
        self._next_request += 1
        request = self._requests[request_id] = _Request(self, request_id, peer, choices, deadline, done)
        self._place(request)

    def _place(self, request: _Request) -> None:
        link = self.link_to(request.peer.peer_id)
        if link is not None:
            request.send(link)
        elif not self.dials.wait(request.peer, request):
            self.settle(Failed(request.request_id, FailureKind.BUSY))

    def settle(self, outcome: RequestResult) -> None:
        """Takes the outcome of a request. A request that was never sent is moved to another connection."""
        request = self._requests.get(outcome.request_id)
        if request is None:
            return
        if type(outcome) is Failed and outcome.unsent and request.resends < MAX_RESENDS and not self._closing:
            request.resends += 1
            self._place(request)
            return
        del self._requests[outcome.request_id]
        try:
            request.done(outcome)
        except Exception as error:  # noqa: BLE001 - others' outcomes come with the same bytes
            self.faults.tell("handling the outcome of a request", error, request.peer.peer_id)

    # -- LinkOwner

    def on_link_made(self, link: Link) -> bool:
        if self._closing or not self.links.admit(link, self.clock.now()):
            return False
        if not self._sweeper.running:
            self._sweeper.start()
        return True

    def on_link_event(self, link: Link, event: Event, now: float) -> None:
        if type(event) is Opened:
            if self.links.on_opened(link, event.peer, now):
                self.identifier.begin(link, now)
                if event.peer == self.peer_id and link.role is Role.LISTENER:
                    self.on_own_key_met(link)
                if link.role is Role.LISTENER:
                    self.dials.on_arrived(event.peer, link)
        elif type(event) is Closed:
            logger.debug("connection to %s closed: %s", link.remote_peer, event.reason)
        elif type(event) is PingAnswered:
            self.links.on_pong(link, now)
        elif self.identifier.feed(link, event, now) or self.streams.feed(link, event):
            pass
        elif type(event) is ResponderFailed:
            self.faults.tell(f"answering {event.protocol}", event.error, link.remote_peer)

    def on_link_outcome(self, link: Link, outcome: RequestResult) -> None:
        self.settle(outcome)

    def on_link_turned(self, link: Link, now: float) -> None:
        if self.streams.has_streams:
            self.streams.on_turned(link)
        if self.links.surplus:
            self.links.on_turned(link, now)

    def on_links_full(self, full: MemoryScope, now: float) -> None:
        self.links.relieve(full, now)

    def on_link_lost(self, link: Link) -> None:
        self.streams.on_lost(link)
        lost = self.links.on_lost(link)
        if lost is not None:
            for observer in self.observers:
                self.faults.run(
                    "reporting a disconnected peer", observer.on_peer_disconnected, lost, self.clock.now()
                )

    def _on_identified(self, link: Link, info: IdentifyInfo, now: float) -> None:
        assert link.remote_peer is not None
        if not link.identity_known.is_set():
            self.on_first_answer(link.remote_peer, now - self.links.opened_at(link))
        peer = PeerInfo(link.remote_peer, self.identifier.store.addrs(link.remote_peer))
        protocols = frozenset(info.protocols)
        for observer in self.observers:
            self.faults.run("reporting an identified peer", observer.on_peer_identified, peer, protocols, now)

    # -- shutdown

    async def close(self) -> None:
        """Stops listening, says goodbye on every connection, and ends what does not end by itself."""
        self._closing = True
        await self._sweeper.stop()
        self.transports.stop_listening()
        await self.dials.close()
        await self.streams.close()
        now = self.clock.now()
        # Tells peers that we no longer answer: those that hear it drop us at once, not at their next dial.
        for protocol in self._served:
            self._protocols.pop(protocol, None)
        self._push_addresses()
        links = self.links.all()
        ends = [link.ended.wait() for link in links]
        for link in links:
            link.close(now)
        if ends:
            await asyncio.wait(ends, timeout=self._config.host.close_grace_s)
        for link in self.links.all():
            link.abort()
        await self.transports.wait_stopped()

    def _sweep(self) -> None:
        now = self.clock.now()
        links = self.links.all()
        for place, sweep in (
            ("sweeping addresses", lambda: self.identifier.sweep(links, now)),
            ("sweeping connections", lambda: self.links.sweep(now)),
            ("sweeping streams", lambda: self.streams.sweep(now)),
        ):
            self.faults.run(place, sweep)
