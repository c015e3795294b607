"""One connection of a host over any transport, which feeds it and sends its output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from fastmarket.errors import ConnectionLost
from fastmarket.formats.identity import PeerId
from fastmarket.libp2p.events import Closed, Event, Opened
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.muxed import ConnectionState, MuxedConnection, Role
from fastmarket.libp2p.requests import RequestPool, RequestResult
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.net.clock import Clock
from fastmarket.net.one_shot import OneShot
from fastmarket.net.pump import Pump, RunQueue

# What a well-behaved peer may have in progress: its streams, an answer in transit. A connection that holds no
# more is never ended when all together hold too much.
SETTLED_BYTES = 64 * 1024


@dataclass(slots=True)
class Traffic:
    """Bytes of all connections since the start, including handshakes."""

    received: int = 0
    sent: int = 0


class LinkOwner(Protocol):
    """Receives the events of a link, within the link's turn."""

    traffic: Traffic
    run_queue: RunQueue

    def on_link_made(self, link: Link) -> bool:
        """A link was made; False: refused, because there are too many."""

    def on_link_event(self, link: Link, event: Event, now: float) -> None: ...

    def on_link_outcome(self, link: Link, outcome: RequestResult) -> None: ...

    def on_link_turned(self, link: Link, now: float) -> None: ...

    def on_links_full(self, full: MemoryScope, now: float) -> None:
        """The links in that scope together hold too much."""

    def on_link_lost(self, link: Link) -> None: ...


class Link(ABC):
    """One connection. `handshake` completes when the peer has authenticated, or fails with the reason.
    `identified` is what the peer told about itself, None before (`identity_known` is set then). `ended` is
    set when the connection has ended."""

    connection: MuxedConnection
    requests: RequestPool

    def __init__(self, owner: LinkOwner, clock: Clock, role: Role) -> None:
        self.role = role
        self.identified: IdentifyInfo | None = None
        self._owner = owner
        self._clock = clock
        self._attached = False  # there is a connection, and the network has not ended it
        self.handshake = OneShot()
        self.identity_known = OneShot()
        self.ended = OneShot()
        self._pump = Pump(owner.run_queue, self._next_timer, self._turn, self._on_bug)
        self._moved_at = 0.0  # when it last held little, or less than before

    @property
    def remote_peer(self) -> PeerId | None:
        """The peer, once the handshake has authenticated it."""
        return self.connection.remote_peer

    @property
    def local_ip(self) -> str:
        """Our own IP address on it; empty if there is none, or no more."""
        return ""

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and the connection is not over."""
        return self._attached and self.connection.state is ConnectionState.OPEN

    @property
    def is_usable(self) -> bool:
        """Whether new requests and streams may use it: open, and neither side is leaving it."""
        connection = self.connection
        return self._attached and connection.state is ConnectionState.OPEN and not connection.is_leaving

    @property
    def is_busy(self) -> bool:
        """Whether a request or stream is in progress, in either direction; idle kept streams do not count."""
        return self.requests.pending_count > 0 or self.connection.has_active_streams(
            self.requests.resting_stream_count
        )

    # -- calls of the owner

    def wake(self) -> None:
        """The connection got input outside a turn: schedules one turn for all of it."""
        self._pump.wake()

    def leave(self, now: float) -> None:
        """Ends the connection once everything in progress on it has ended, whichever side started that."""
        self.connection.leave(now)
        self.requests.retire(now)
        self.wake()

    def close(self, now: float) -> None:
        """Says goodbye and ends the connection."""
        self.connection.close(now)
        self.wake()

    @abstractmethod
    def abort(self) -> None:
        """Ends the connection at once."""

    @abstractmethod
    def measure(self, now: float) -> int:
        """Updates the bytes held for the peer in its scope, notes when they decreased (`_moved_at`), and
        returns them."""

    def burden(self, now: float) -> float:
        """Bytes held times the seconds since they last decreased, plus one."""
        return self.measure(now) * (1.0 + now - self._moved_at)

    # -- calls of the transport

    def _attach(self, connection: MuxedConnection) -> bool:
        """The transport is connected; False: refused, because there are too many links."""
        self.connection = connection
        self.requests = RequestPool(connection)
        self._attached = True
        return self._owner.on_link_made(self)

    def _detach(self, now: float) -> None:
        """The transport ended, and the connection has been told."""
        try:
            self._deliver(now)
        except Exception as error:  # noqa: BLE001 - what follows frees its place, and notifies waiters
            self._on_bug(error)
        lost = ConnectionLost("the connection ended", peer=self.remote_peer)
        self.handshake.fail(lost)
        self.identity_known.fail(lost)
        self.ended.set()
        self._attached = False
        self._pump.close()
        self.connection.scope.settle(0)  # before its peer's scope may end
        self._owner.on_link_lost(self)
        self.connection.release()

    def _on_bug(self, error: Exception) -> None:
        """A bug of ours costs this connection, whose state is unknown afterwards."""
        self._owner.run_queue.faults.tell("serving a connection", error, self.connection.remote_peer)
        self.abort()

    @abstractmethod
    def _next_timer(self) -> float | None:
        """When the connection or its requests want a turn."""

    @abstractmethod
    def _turn(self, now: float) -> None:
        """Handles timers that are due, delivers events, sends."""

    def _deliver(self, now: float) -> None:
        """Events may lead to further ones, so both queues are drained until neither yields anything."""
        connection, requests, owner = self.connection, self.requests, self._owner
        while True:
            while (event := connection.next_event()) is not None:
                if type(event) is Opened:
                    self.handshake.set()
                elif type(event) is Closed:
                    self.handshake.fail(event.fault or ConnectionLost(event.reason))
                if not requests.feed(event, now):
                    owner.on_link_event(self, event, now)
            outcomes = requests.poll_outcomes()
            if not outcomes:
                return
            for outcome in outcomes:
                owner.on_link_outcome(self, outcome)
