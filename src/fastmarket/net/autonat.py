"""AutoNAT v2 on a host: has peers test our addresses, and tests theirs.

The judgement is `libp2p.autonat.reachability`'s; here are streams, the addresses that are withheld by it, and
the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import AddressScope, ip_of, scope_of
from fastmarket.libp2p.autonat.client import (
    ANSWER_S,
    NONCE_BYTES,
    NONCE_S,
    DialAsk,
    DialOutcome,
    PendingAsks,
    Verdict,
)
from fastmarket.libp2p.autonat.messages import DIAL_BACK_PROTOCOL, DIAL_REQUEST_PROTOCOL, MAX_MESSAGE_BYTES
from fastmarket.libp2p.autonat.reachability import AddressProbe, Reachability, ReachabilityTracker, Server
from fastmarket.libp2p.autonat.server import ASKING_S, DialServer, ServerSession
from fastmarket.libp2p.observed import observer_group
from fastmarket.libp2p.stream_shares import StreamBounds, StreamShares
from fastmarket.net.dial_back import DialBackDialer
from fastmarket.net.host import Host
from fastmarket.net.pump import Pump
from fastmarket.net.streams import Stream

logger = logging.getLogger(__name__)

MAX_SERVERS = 64  # peers known to test addresses; each address needs a dozen
BOUNDS = StreamBounds(per_peer=4, per_block=64, total=256, message_s=30.0)
"""Of requests of others. A request takes 30 s at most: its data, a wait, two time-outs."""
CLOSING_S = 5.0  # for an asker to close its side after the answer


def is_public_ip(addr: Multiaddr) -> bool:
    """Whether it is an address on the Internet; names are not resolved on a stranger's word."""
    ip = ip_of(addr)
    return ip is not None and scope_of(ip) is AddressScope.PUBLIC


class Autonat:
    """From `start` to `stop`."""

    def __init__(
        self, host: Host, config: NodeConfig, is_public: Callable[[Multiaddr], bool] = is_public_ip
    ) -> None:
        """`is_public`: which addresses are tested, ours and those of others."""
        self.on_changed: list[Callable[[], None]] = []
        """Called after `reachability` has changed."""
        self.tracker = ReachabilityTracker()
        self.server = DialServer(os.urandom, self._is_willing)
        self.outcomes: Counter[DialOutcome] = Counter()
        """Of our requests."""
        self.reachability = Reachability.UNKNOWN
        """Of this node, by any of its addresses."""
        self._host = host
        self._addresses = host.identifier.addresses
        self._is_public = is_public
        self._dialer = DialBackDialer(host, config)
        self._asks = PendingAsks(self._on_nonce)
        self._arrived: dict[DialAsk, asyncio.Event] = {}
        self._servers: BoundedMap[PeerId, tuple[PeerInfo, Server]] = BoundedMap(MAX_SERVERS)
        self._networks: frozenset[Multiaddr] = frozenset()  # listened on, when last looked at
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_running = False
        self._pump = Pump(host.run_queue, self.tracker.next_timer, self._turn, self._failed)

    def start(self) -> None:
        """From now on peers see that we speak the protocol."""
        host, addresses = self._host, self._addresses
        self._is_running = True
        host.respond(DIAL_BACK_PROTOCOL, self._asks.responders())
        host.streams.serve(DIAL_REQUEST_PROTOCOL, self._serve, StreamShares("autonat", BOUNDS))
        host.observers.append(self)
        self._networks = frozenset(addresses.listening)
        addresses.on_candidates.append(self._look_at_candidates)
        self._look_at_candidates()

    def on_network_changed(self) -> None:
        """There may be another router: all addresses are tested again."""
        if self._is_running:
            self.tracker.on_network_changed(self._host.clock.now())
            self._pump.wake()

    async def stop(self) -> None:
        """Ends all requests of ours."""
        self._pump.close()
        if not self._is_running:
            return
        self._is_running = False
        self._host.observers.remove(self)
        self._addresses.on_candidates.remove(self._look_at_candidates)
        for protocol in (DIAL_REQUEST_PROTOCOL, DIAL_BACK_PROTOCOL):
            self._host.unserve(protocol)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_reachable(self) -> bool:
        """Whether the node is to serve others: unless it is known that nobody can connect to it. An operator
        who announces addresses knows better."""
        return self._addresses.is_fixed or self.reachability is not Reachability.UNREACHABLE

    def trouble(self) -> str:
        """That nobody can connect, and what to do, or ""."""
        if self.reachability is not Reachability.UNREACHABLE:
            return ""
        return f"nobody outside can connect to this node: {self._advice()}"

    # -- HostObserver

    def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        if DIAL_REQUEST_PROTOCOL not in protocols:
            self._forget(peer.peer_id)
            return
        link = self._host.link_to(peer.peer_id)
        remote = None if link is None else link.connection.remote_addr
        ip = None if remote is None else ip_of(remote)
        if ip is not None:
            server = Server(peer.peer_id, observer_group(ip, peer.peer_id), ip.version)
            self._servers.put(peer.peer_id, (peer, server))
            self._set_servers()

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        """It is dialed when it is to be asked."""

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        self._forget(peer_id)

    def _forget(self, peer_id: PeerId) -> None:
        if self._servers.pop(peer_id) is not None:
            self._set_servers()

    def _set_servers(self) -> None:
        self.tracker.set_servers(server for _, server in self._servers.values())
        self._pump.wake()

    # -- the client

    def _look_at_candidates(self) -> None:
        now, listening = self._host.clock.now(), frozenset(self._addresses.listening)
        if listening != self._networks:
            self._networks = listening
            self.tracker.on_network_changed(now)
        self.tracker.set_candidates(filter(self._is_public, self._addresses.candidates), now)
        self._conclude(now)  # before what has just been found is announced
        self._pump.wake()

    def _turn(self, now: float) -> None:
        for ask in self.tracker.poll_probes(now):
            task = asyncio.ensure_future(self._ask(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._conclude(now)

    def _failed(self, error: Exception) -> None:
        self._host.faults.tell("testing our addresses", error)

    async def _ask(self, ask: AddressProbe) -> None:
        known = self._servers.peek(ask.server.peer)
        verdict = Verdict(DialOutcome.NOTHING)
        try:
            if known is not None:
                verdict = await self.ask(known[0], ask.addrs)
        finally:
            self.tracker.on_verdict(ask, verdict, self._host.clock.now())
            self._pump.wake()

    async def ask(self, server: PeerInfo, addrs: Sequence[Multiaddr]) -> Verdict:
        """Has one server test one of these addresses of ours, the first that it dials."""
        exchange = DialAsk(addrs, int.from_bytes(os.urandom(NONCE_BYTES), "big"))
        verdict = Verdict(DialOutcome.NOTHING)
        try:
            async with asyncio.timeout(ANSWER_S):
                verdict = await self._exchange(server, exchange)
        except (TimeoutError, FastmarketError) as fault:
            logger.debug("%s does not test our addresses: %s", server.peer_id, fault)
        finally:
            self._asks.drop(exchange)
            self._arrived.pop(exchange, None)
            self.outcomes[verdict.outcome] += 1
        return verdict

    async def _exchange(self, server: PeerInfo, exchange: DialAsk) -> Verdict:
        link = await self._host.connect(server, given=False)
        arrived = self._arrived[exchange] = asyncio.Event()
        self._asks.add(exchange)
        stream = await self._host.streams.open(link, [DIAL_REQUEST_PROTOCOL])
        try:
            await stream.write(exchange.request())
            while not exchange.is_answered:
                data = await stream.read(MAX_MESSAGE_BYTES)
                if not data:
                    return Verdict(DialOutcome.NOTHING)
                for out in exchange.feed(data):
                    await stream.write(out)
            stream.close_write()
            if not exchange.is_proven:
                async with asyncio.timeout(NONCE_S):
                    await arrived.wait()
            return exchange.verdict()
        finally:
            if not stream.is_over:
                stream.reset()

    def _on_nonce(self, ask: DialAsk) -> None:
        arrived = self._arrived.get(ask)
        if arrived is not None:
            arrived.set()

    def _conclude(self, now: float) -> None:
        """Puts the judgements into effect."""
        self._addresses.withhold(self.tracker.withheld(now))
        if self.tracker.overall is self.reachability:
            return
        self.reachability = self.tracker.overall
        self._log()
        for call in self.on_changed:
            self._host.faults.run("telling whether others can connect", call)

    def _log(self) -> None:
        states = self.tracker.states()
        if self.reachability is Reachability.REACHABLE:
            reached = [addr for addr, state in states.items() if state is Reachability.REACHABLE]
            logger.info("others can connect to this node at %s", ", ".join(map(str, reached)))
        elif self.reachability is Reachability.UNREACHABLE:
            logger.warning(
                "nobody outside can connect to this node (tried: %s): %s",
                ", ".join(map(str, states)),
                self._advice(),
            )
        else:
            logger.info("it is not known whether others can connect to this node")

    def _advice(self) -> str:
        endpoints = [addr.host_port() for addr in self._addresses.listening]
        ports = dict.fromkeys(str(one.port) for one in endpoints if one is not None)
        shown = ", ".join(ports)
        if self._addresses.is_fixed:
            return f"see that what --announce names leads to TCP port {shown} of this machine"
        return (
            f"forward TCP port {shown} to this machine at the router, or switch UPnP on there, and let the "
            "firewall pass it. Until then buyers cannot fetch from it, and it is a client"
        )

    # -- the server

    def _is_willing(self, addr: Multiaddr) -> bool:
        """Public, not ours, and of a family that this machine has: its interfaces have no translator's IPv6
        addresses, so there a public one of its own is needed."""
        ip = ip_of(addr)
        if ip is None or not self._is_public(addr) or addr in self._addresses:
            return False
        for known in self._addresses.listening:
            own = ip_of(known)
            if own is None or own.version != ip.version:
                continue
            if self._is_public(known) or (own.version == 4 and not own.is_loopback):
                return True
        return False

    async def _serve(self, stream: Stream) -> None:
        """One request of a peer. Raises FastmarketError."""
        session = self.server.open(stream.remote, self._host.clock.now())
        try:
            async with asyncio.timeout(ASKING_S):
                await self._take_request(stream, session)
            if session.dial is not None:
                await stream.write(session.dialed(await self._dialer.dial_back(session.dial)))
            session.close()
            stream.close_write()
            async with asyncio.timeout(CLOSING_S):
                while await stream.read(MAX_MESSAGE_BYTES):
                    pass
        except TimeoutError:
            logger.debug("%s is too slow in asking to be tested", stream.remote_peer)
        finally:
            session.close()

    async def _take_request(self, stream: Stream, session: ServerSession) -> None:
        while not session.is_finished:
            data = await stream.read(MAX_MESSAGE_BYTES)
            if not data:
                raise PeerFault("ended inside a request", protocol=DIAL_REQUEST_PROTOCOL)
            out = session.feed(data, self._host.clock.now())
            if out:
                await stream.write(out)
