"""The connections of a host: which are admitted, which one carries requests, and which are closed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fastmarket.config import HostConfig
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.scope import source_block
from fastmarket.libp2p.connection_policy import (
    Admission,
    ConnectionRefusal,
    ConnectionStanding,
    ends_when_asked,
    kept_role,
    source_of,
    to_trim,
)
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.scopes import HANDSHAKE_BYTES, RELIEVED, MemoryScope, PeerScopes, Priority
from fastmarket.log_throttle import LogThrottle
from fastmarket.net.link import SETTLED_BYTES, Link
from fastmarket.wording import suppressed_note

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """State of one connection."""

    source: str | None
    opened_at: float = 0.0  # end of its handshake; 0.0: not yet
    busy_at: float = 0.0  # when it was last seen busy
    settled: bool = False  # the handshake has ended
    leaving_at: float | None = None  # when this side began to leave it
    closed_at: float | None = None  # when first seen closed, except for bytes that the peer must take


class Connections:
    """Every link of a host, from its TCP connection to its end."""

    def __init__(self, config: HostConfig, local: PeerId, faults: Faults, scopes: PeerScopes) -> None:
        self._faults = faults
        self.by_peer: dict[PeerId, list[Link]] = {}  # open ones; the first usable one carries requests
        self.protected: set[PeerId] = set()  # peers whose connections are not trimmed
        self.neighbours: Callable[[], Collection[PeerId]] = tuple  # further ones, at the moment
        self.refusals: Counter[ConnectionRefusal] = Counter()  # connections refused since the start
        self.dropped_count = 0  # connections ended since the start for what they made us hold
        self._config = config
        self._local = local
        self._scopes = scopes
        self._held: dict[Link, _Held] = {}
        self.surplus: set[Link] = set()
        """To be left as soon as they are idle."""
        self._admission = Admission(config)
        self._log_throttle = LogThrottle(config.refusal_log_interval_s, config.max_known_ips)
        self._trimmed_at = float("-inf")

    def __len__(self) -> int:
        return len(self._held)

    def all(self) -> tuple[Link, ...]:
        """Open, opening and closing ones."""
        return tuple(self._held)

    def to(self, peer_id: PeerId) -> Link | None:
        """The open connection that carries requests to a peer."""
        for link in self.by_peer.get(peer_id, ()):
            if link.is_usable:
                return link
        return None

    def opened_at(self, link: Link) -> float:
        """When its handshake ended."""
        return self._held[link].opened_at

    def of(self, peer: RemotePeer) -> Link | None:
        """The open link to this remote end."""
        links = self.by_peer.get(peer.peer_id, ())
        return next((link for link in links if link.connection.remote is peer), None)

    def responder_count(self, peer: RemotePeer, protocol: str) -> int:
        """Streams answered in `protocol`, over all open connections to that peer."""
        return sum(link.connection.responder_count(protocol) for link in self.by_peer.get(peer.peer_id, ()))

    # -- life cycle

    def admit(self, link: Link, now: float) -> bool:
        """A TCP connection was made; False: refused."""
        source = source_of(link.connection.remote_addr, self._config)
        refusal = self._refuse(link.role, source, now)
        if refusal is not None:
            self.refusals[refusal] += 1
            self._tell(source or "this machine", refusal, now)
            self._trim(now)
            return False
        self._held[link] = _Held(source)
        return True

    def _refuse(self, role: Role, source: str | None, now: float) -> ConnectionRefusal | None:
        if role is Role.LISTENER and not self._scopes.transient.admits(HANDSHAKE_BYTES, Priority.STRANGER):
            return ConnectionRefusal.MEMORY
        return self._admission.refuse(role, source, now)

    def _tell(self, source: str, refusal: ConnectionRefusal, now: float) -> None:
        suppressed = self._log_throttle.due(source, now)
        if suppressed is not None:
            logger.info(
                "refused a connection from %s: %s%s", source, refusal.value, suppressed_note(suppressed)
            )

    def on_opened(self, link: Link, peer_id: PeerId, now: float) -> bool:
        """Its handshake is done; False: closed at once, because there are too many to that peer."""
        held = self._held[link]
        self._settle(link, held)
        links = self.by_peer.setdefault(peer_id, [])
        if len(links) >= self._config.max_connections_per_peer:
            link.close(now)
            return False
        held.opened_at = held.busy_at = now
        self._scopes.enter(link.connection.scope, source_block(link.connection.remote_addr), peer_id.raw)
        # A peer that dials again has lost its connection; of our own dials the first stays in use.
        links.insert(0 if link.role is Role.LISTENER else len(links), link)
        self._ask_kept(links, peer_id, now)
        self._trim(now)
        return True

    def _ask_kept(self, links: list[Link], peer_id: PeerId, now: float) -> None:
        """Pings the connection to keep if each side has dialed the other. The pong shows that it is alive and
        that the peer has it open, too; only then is the other one left."""
        if len({link.role for link in links}) == 2:
            kept = kept_role(self._local, peer_id)
            for link in links:
                if link.role is kept and link.is_usable:
                    link.connection.ping(now)
                    link.wake()

    def on_pong(self, link: Link, now: float) -> None:
        """The peer answered a ping on it."""
        peer_id = link.remote_peer
        links = self.by_peer.get(peer_id, []) if peer_id is not None else []
        if peer_id is None or len(links) < 2 or link not in links or not link.is_usable:
            return
        if link.role is not kept_role(self._local, peer_id):
            return
        links.remove(link)
        links.insert(0, link)
        for other in links:
            if other.role is not link.role and other.is_usable:
                self.surplus.add(other)
                other.requests.retire(now)
                other.wake()

    def on_turned(self, link: Link, now: float) -> None:
        """The link has taken a turn."""
        if link in self.surplus and not link.is_busy:
            peer_id = link.remote_peer
            if peer_id is not None and self.to(peer_id) not in (None, link):
                self._leave(link, now)

    def on_lost(self, link: Link) -> PeerId | None:
        """The connection ended; returns the peer if it was the last connection to it."""
        held = self._held.pop(link, None)
        self.surplus.discard(link)
        if held is None:
            return None
        self._settle(link, held)
        self._admission.on_ended(link.role, held.source)
        peer_id = link.remote_peer
        links = self.by_peer.get(peer_id) if peer_id is not None else None
        if peer_id is None or links is None:
            return None
        was_open = link in links
        if was_open:
            links.remove(link)
        if links:
            return None
        del self.by_peer[peer_id]
        self._scopes.leave(peer_id.raw)
        return peer_id if was_open else None

    def _settle(self, link: Link, held: _Held) -> None:
        if not held.settled:
            held.settled = True
            self._admission.on_opened(link.role, held.source)

    # -- ending connections that hold too much

    def relieve(self, full: MemoryScope, now: float) -> None:
        """The connections in a scope hold too much for their peers: ends those that hold most and have taken
        nothing for longest, until there is room."""
        self._end_worst(full, full.limit, int(full.limit * RELIEVED), now)

    def shrink(self, now: float) -> None:
        """The process is near its memory limit: ends connections until the others hold half."""
        held = self._scopes.all.held
        self._end_worst(self._scopes.all, held // 2, held // 2, now)

    def _end_worst(self, full: MemoryScope, limit: int, wanted: int, now: float) -> None:
        burdens = {link: link.burden(now) for link in self._held if link.connection.scope.is_within(full)}
        if full.held <= limit:
            return  # some were read from without an event
        for link in sorted(burdens, key=burdens.__getitem__, reverse=True):
            if full.held <= wanted or link.connection.scope.held <= SETTLED_BYTES:
                break
            self.dropped_count += 1
            suppressed = self._log_throttle.due("", now)
            if suppressed is not None:
                logger.warning(
                    "closed the connection to %s: it does not read the answers it requested, and all"
                    " connections together held more than %d MiB (%s)%s",
                    link.remote_peer,
                    limit >> 20,
                    full.kind.value,
                    suppressed_note(suppressed),
                )
            link.connection.scope.settle(0)
            link.abort()

    # -- closing unused connections

    def sweep(self, now: float) -> None:
        """Leaves connections that have been idle for a while, and ends those whose peer does not close
        them."""
        for link, held in tuple(self._held.items()):
            if not self._faults.run("sweeping a connection", self._sweep_one, link, held, now):
                link.abort()
        self._trim(now)

    def _sweep_one(self, link: Link, held: _Held, now: float) -> None:
        config = self._config
        if link.connection.state is ConnectionState.CLOSED:
            held.closed_at = held.closed_at or now
            if now - held.closed_at >= config.leave_grace_s:
                link.abort()  # a peer that reads nothing would keep it open forever
        if not link.is_open:
            return
        if link.is_busy:
            held.busy_at = now
        elif held.leaving_at is not None:
            if now - held.leaving_at >= config.leave_grace_s:
                link.close(now)
        elif now - max(held.busy_at, link.connection.used_at) >= config.idle_timeout_s:
            self._leave(link, now)

    def _leave(self, link: Link, now: float) -> None:
        self.surplus.discard(link)
        held = self._held[link]
        if held.leaving_at is None:
            held.leaving_at = now
            if link.identified is None or ends_when_asked(link.identified.agent_version):
                link.leave(now)
            else:
                link.close(now)

    def _trim(self, now: float) -> None:
        config = self._config
        if len(self._held) <= config.high_connections or now - self._trimmed_at < config.trim_pause_s:
            return
        self._trimmed_at = now
        protected = {*self.protected, *self.neighbours()}
        standings = [
            ConnectionStanding(
                link,
                held.opened_at,
                max(held.busy_at, link.connection.used_at),
                link.is_busy,
                link.remote_peer in protected,
            )
            for link, held in self._held.items()
            if link.is_usable
        ]
        for link in to_trim(standings, config, now):
            self._leave(link, now)
