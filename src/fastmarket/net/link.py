"""The asyncio side of one TCP connection: feed bytes in, hand events on, write once, arm one timer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast

from fastmarket.errors import ConnectionLost
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.connection import Connection, ConnectionState
from fastmarket.libp2p.events import Closed, Event, Opened
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.output import Sealed, compact, recycle
from fastmarket.libp2p.requests import RequestPool, RequestResult
from fastmarket.libp2p.upgrade import Role
from fastmarket.net.clock import Clock
from fastmarket.net.one_shot import OneShot
from fastmarket.net.pump import Pump, RunQueue

# The kernel's accept queue and our own buffer hold what a peer writes while we are busy; beyond this many
# bytes waiting in the transport, no more is encrypted until the peer has read some.
WRITE_HIGH_WATER_BYTES = 256 * 1024
# What a peer in good order may have under way: its streams, an answer on its way. Who holds no more is not
# among those that are ended when all hold too much, however long it has been so.
SETTLED_BYTES = 64 * 1024
# What requests that came together call for is written `output.AHEAD_BYTES` at a time. After so many, 1 to 2
# MB and a few ms, other connections have their turn.
MAX_WRITES_A_TURN = 4
# Nor does a turn go on with more input after so long.
MAX_TURN_S = 0.002
# Input of one connection processed before others have their turn. Work goes by the byte: so much is 250
# FIND_NODEs, or a STORE with 64 signatures; 2 to 5 ms.
SLICE_BYTES = 16 * 1024
# More than a few requests. While others wait for their turn with more than a slice of input each, who sends
# so much waits behind them, and who sends less is answered at once.
SHORT_BYTES = 2048


@dataclass(slots=True)
class Traffic:
    """Bytes of all TCP connections since the start, handshakes included."""

    received: int = 0
    sent: int = 0


class LinkOwner(Protocol):
    """Who gets what a link finds out; every call comes from the link's own turn."""

    traffic: Traffic
    agenda: RunQueue

    def make_connection(
        self, role: Role, remote_addr: Multiaddr | None, expected_peer: PeerId | None
    ) -> tuple[Connection, RequestPool]: ...

    def link_made(self, link: Link) -> bool:
        """False: refused, there are too many."""

    def link_event(self, link: Link, event: Event, now: float) -> None: ...

    def link_outcome(self, link: Link, outcome: RequestResult) -> None: ...

    def link_turned(self, link: Link, now: float) -> None: ...

    def links_full(self, now: float) -> None:
        """All links together hold too much."""

    def link_lost(self, link: Link) -> None: ...


class Link(asyncio.Protocol):
    """One connection. `handshake` is done when the peer has proved who it is, or failed with the reason;
    `identified` is what the peer then told about itself, None until it did (`identity_known` says when);
    `ended` is done when the connection is over."""

    connection: Connection
    requests: RequestPool

    def __init__(
        self, owner: LinkOwner, clock: Clock, role: Role, *, expected_peer: PeerId | None = None
    ) -> None:
        self.role = role
        self.identified: IdentifyInfo | None = None
        self._owner = owner
        self._clock = clock
        self._expected_peer = expected_peer
        self._transport: asyncio.Transport | None = None
        self.handshake = OneShot()
        self.identity_known = OneShot()
        self.ended = OneShot()
        self._turns = Pump(owner.agenda, self._next_timer, self._turn, self._failed)
        self._writing_paused = False
        self._reading_paused = False
        self._late = False  # input that waits inside goes on when its turn comes
        self._viewed = 0  # bytes of the buffer that the transport has a view of, while it has not written all
        self._moved_at = 0.0  # when it last held little, or less than before

    @property
    def remote_peer(self) -> PeerId | None:
        """Who it is, once the handshake has shown it."""
        return self.connection.remote_peer

    @property
    def is_open(self) -> bool:
        """The handshake is done and the connection not over."""
        return self._transport is not None and self.connection.state is ConnectionState.OPEN

    @property
    def usable(self) -> bool:
        """Open, and neither side is leaving it: new requests and streams may go over it."""
        connection = self.connection
        return (
            self._transport is not None
            and connection.state is ConnectionState.OPEN
            and not connection.leaving
        )

    @property
    def busy(self) -> bool:
        """A request or stream is under way, in either direction; streams kept for later are not."""
        return self.requests.pending > 0 or self.connection.active_streams > self.requests.resting

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transport has the methods, but not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self.connection, self.requests = self._owner.make_connection(
            self.role, remote_multiaddr(transport), self._expected_peer
        )
        self.connection.slice_bytes = SLICE_BYTES
        try:
            made = self._owner.link_made(self)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._failed(error)
            return
        if made:
            self._turns.take(self._clock.now())
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        now = self._clock.now()
        self._owner.traffic.received += len(data)
        try:
            if len(data) > SHORT_BYTES and self._owner.agenda.crowded:
                self.connection.postpone(data, now)
            else:
                self.connection.receive_data(data, now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._failed(error)
        else:
            self._turns.take(now)

    def eof_received(self) -> bool:
        now = self._clock.now()
        try:
            self.connection.receive_eof(now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._failed(error)
        else:
            self._turns.take(now)
        return False

    def pause_writing(self) -> None:
        self._writing_paused = self.connection.output.paused = True

    def resume_writing(self) -> None:
        self._writing_paused = self.connection.output.paused = False
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        now = self._clock.now()
        try:
            self.connection.receive_eof(now)
            self._deliver(now)
        except Exception as error:  # noqa: BLE001 - what follows frees its place, and tells those who wait
            self._failed(error)
        lost = ConnectionLost("the connection ended", peer=self.remote_peer)
        self.handshake.come(lost)
        self.identity_known.come(lost)
        self.ended.come()
        self._transport = None
        self._turns.close()
        self._owner.link_lost(self)
        self.connection.release()
        self.connection.scope.settle(0)

    # -- the owner's calls

    def wake(self) -> None:
        """Something was given to the connection outside a turn: take one soon, one for all of them."""
        self._turns.wake()

    def leave(self, now: float) -> None:
        """Ends the connection when everything under way on it has ended, whichever side began it."""
        self.connection.leave(now)
        self.requests.retire(now)
        self.wake()

    def close(self, now: float) -> None:
        """Says good-bye and ends the connection."""
        self.connection.close(now)
        self.wake()

    def abort(self) -> None:
        """Ends it at once, without a word."""
        if self._transport is not None:
            self._transport.abort()

    def measure(self, now: float) -> int:
        """Settles what is held for the peer, and returns that: bytes."""
        transport, connection = self._transport, self.connection
        held = connection.holding + self.requests.held
        if transport is not None:
            waiting = transport.get_write_buffer_size()
            if waiting:
                held += max(waiting, self._viewed)
            else:
                self._viewed = 0
        scope = connection.scope
        if held < scope.held or held <= SETTLED_BYTES:
            self._moved_at = now
        if held != scope.held:
            scope.settle(held)
        return held

    def burden(self, now: float) -> float:
        """How much it holds, and for how long it has not held less: bytes times seconds, and one more."""
        return self.measure(now) * (1.0 + now - self._moved_at)

    # -- turns

    def _failed(self, error: Exception) -> None:
        """A bug of ours costs this connection: in what state it left that, nobody knows."""
        self._owner.agenda.faults.tell("serving a connection", error, self.connection.remote_peer)
        self.abort()

    def _go_on(self) -> None:
        """The next slice of what came: for the agenda."""
        self._late = False
        if self._transport is None:
            return
        now = self._clock.now()
        try:
            self.connection.resume(now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._failed(error)
        else:
            self._turns.take(now)

    def _next_timer(self) -> float | None:
        connection = None if self._late else self.connection.next_timer()
        requests = self.requests.next_timer()
        if connection is None or requests is None:
            return requests if connection is None else connection
        return connection if connection < requests else requests

    def _deliver(self, now: float) -> None:
        """Events may call for more of the same, so both queues are emptied until neither yields anything."""
        connection, requests, owner = self.connection, self.requests, self._owner
        while True:
            while (event := connection.next_event()) is not None:
                if type(event) is Opened:
                    self.handshake.come()
                elif type(event) is Closed:
                    self.handshake.come(event.fault or ConnectionLost(event.reason))
                if not requests.feed(event, now):
                    owner.link_event(self, event, now)
            outcomes = requests.poll_outcomes()
            if not outcomes:
                return
            for outcome in outcomes:
                owner.link_outcome(self, outcome)

    def _turn(self, now: float) -> None:
        transport, connection = self._transport, self.connection
        if transport is None:
            return
        if now >= self._turns.due:
            connection.handle_timer(now)
            self.requests.handle_timer(now)
        self._deliver(now)
        more = False  # of both, output made by going on with input
        for _ in range(MAX_WRITES_A_TURN):
            if self._writing_paused or not (data := connection.take_output()):
                break
            self._owner.traffic.sent += len(data)
            if _write(transport, data):
                self._viewed = len(data)
            if self._clock.now() >= now + MAX_TURN_S or not connection.resume(now):
                break
            self._deliver(now)
        else:
            more = True
        if (more or connection.resumable) and not self._late:
            # Not by `wake`: that turn would come before the sockets of others are looked at.
            self._late = True
            self._owner.agenda.later(self._go_on)
        if connection.state is ConnectionState.CLOSED:
            transport.close()
            return
        if connection.wants_read is self._reading_paused:
            self._reading_paused = not self._reading_paused
            (transport.pause_reading if self._reading_paused else transport.resume_reading)()
        self._owner.link_turned(self, now)
        self.measure(now)
        if connection.scope.full:
            self._owner.links_full(now)


def _write(transport: asyncio.Transport, data: Sealed) -> bool:
    """Whether the transport goes on looking at `data`.

    A view is of a buffer that is used again once the transport has written all of it, as nearly always. What
    has to wait behind other bytes is copied: so a peer that does not read holds one buffer at most.
    """
    if isinstance(data, memoryview):
        if not transport.get_write_buffer_size():
            transport.write(data)
            if transport.get_write_buffer_size():
                return True
            recycle(data)
            return False
        data = compact(data)
    transport.write(data)
    return False


def remote_multiaddr(transport: asyncio.BaseTransport) -> Multiaddr | None:
    """Where the other end of the transport is, as the kernel sees it."""
    address = transport.get_extra_info("peername")
    return Multiaddr.from_endpoint(address[0].partition("%")[0], address[1]) if address else None
