"""The asyncio side of one TCP connection: feeds bytes in, delivers events, writes once, arms one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.muxed import ByteStreamConnection, ConnectionState, Role, Sealed
from fastmarket.libp2p.tcp.output import compact, recycle
from fastmarket.net.clock import Clock
from fastmarket.net.link import SETTLED_BYTES, Link, LinkOwner

# The kernel's accept queue and our own buffer hold what a peer writes while we are busy. With more than this
# waiting in the transport, nothing is encrypted until the peer has read some.
WRITE_HIGH_WATER_BYTES = 256 * 1024
# Answers to requests that arrived together are written in pieces of `output.AHEAD_BYTES`. After this many
# pieces, 1 to 2 MB and a few ms, other connections get their turn.
MAX_WRITES_A_TURN = 4
# A turn stops processing input after this time.
MAX_TURN_S = 0.002
# Input of one connection processed before others get their turn. Work grows with the bytes: these are 250
# FIND_NODEs, or a STORE with 64 signatures; 2 to 5 ms.
SLICE_BYTES = 16 * 1024
# More than a few requests. While other links with more than a slice of input each wait for their turn, a link
# with that much input waits behind them, and one with less is answered at once.
SHORT_BYTES = 2048

MakeConnection = Callable[[Role, Multiaddr | None, PeerId | None], ByteStreamConnection]
"""(our role, the remote address, the expected peer)"""


class TcpLink(Link, asyncio.Protocol):
    """A link whose bytes go over a transport of asyncio."""

    connection: ByteStreamConnection

    def __init__(
        self,
        owner: LinkOwner,
        clock: Clock,
        role: Role,
        make_connection: MakeConnection,
        *,
        expected_peer: PeerId | None = None,
    ) -> None:
        super().__init__(owner, clock, role)
        self._make_connection = make_connection
        self._expected_peer = expected_peer
        self._transport: asyncio.Transport | None = None
        self._writing_paused = False
        self._reading_paused = False
        self._late = False  # waiting input is scheduled to be processed
        self._viewed = 0  # bytes that the transport still has a view of, until all are written

    # -- asyncio's calls

    @property
    def local_ip(self) -> str:
        """That of its socket."""
        address = None if self._transport is None else self._transport.get_extra_info("sockname")
        return str(address[0]).removeprefix("::ffff:") if address else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transport has the methods, but not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        connection = self._make_connection(self.role, remote_multiaddr(transport), self._expected_peer)
        connection.slice_bytes = SLICE_BYTES
        try:
            made = self._attach(connection)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._on_bug(error)
            return
        if made:
            self._pump.take(self._clock.now())
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        now = self._clock.now()
        self._owner.traffic.received += len(data)
        try:
            if len(data) > SHORT_BYTES and self._owner.run_queue.is_crowded:
                self.connection.postpone(data, now)
            else:
                self.connection.receive_data(data, now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._on_bug(error)
        else:
            self._pump.take(now)

    def eof_received(self) -> bool:
        now = self._clock.now()
        try:
            self.connection.receive_eof(now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._on_bug(error)
        else:
            self._pump.take(now)
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True
        self.connection.pause_output(True)

    def resume_writing(self) -> None:
        self._writing_paused = False
        self.connection.pause_output(False)
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        now = self._clock.now()
        try:
            self.connection.receive_eof(now)
        except Exception as error:  # noqa: BLE001 - what follows frees its place, and notifies waiters
            self._on_bug(error)
        self._transport = None
        self._detach(now)

    # -- calls of the owner

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def measure(self, now: float) -> int:
        transport, connection = self._transport, self.connection
        held = connection.held_bytes + self.requests.held_bytes
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

    # -- turns

    def _go_on(self) -> None:
        """Processes the next slice of input; for the run queue."""
        self._late = False
        if self._transport is None:
            return
        now = self._clock.now()
        try:
            self.connection.resume(now)
        except Exception as error:  # noqa: BLE001 - it costs this connection
            self._on_bug(error)
        else:
            self._pump.take(now)

    def _next_timer(self) -> float | None:
        connection = None if self._late else self.connection.next_timer()
        requests = self.requests.next_timer()
        if connection is None or requests is None:
            return requests if connection is None else connection
        return connection if connection < requests else requests

    def _turn(self, now: float) -> None:
        transport, connection = self._transport, self.connection
        if transport is None:
            return
        if now >= self._pump.due:
            connection.handle_timer(now)
            self.requests.handle_timer(now)
        self._deliver(now)
        more = False  # output made by processing more input, and more input
        for _ in range(MAX_WRITES_A_TURN):
            if self._writing_paused or not (data := connection.take_output()):
                break
            self._owner.traffic.sent += len(data)
            if _write(transport, data):
                self._viewed = len(data)
            # Those that wait for their turn come first: more input here would be ahead of its place.
            if self._clock.now() >= now + MAX_TURN_S or self._owner.run_queue.is_crowded:
                break
            if not connection.resume(now):
                break
            self._deliver(now)
        else:
            more = True
        if (more or connection.is_resumable) and not self._late:
            # Not `wake`: that turn would come before other sockets are polled.
            self._late = True
            self._owner.run_queue.run_later(self._go_on)
        if connection.state is ConnectionState.CLOSED:
            transport.close()
            return
        if connection.wants_read is self._reading_paused:
            self._reading_paused = not self._reading_paused
            (transport.pause_reading if self._reading_paused else transport.resume_reading)()
        self._owner.on_link_turned(self, now)
        scope = connection.scope
        held_before = scope.held
        if self.measure(now) > held_before and (full := scope.overfull) is not None:
            self._owner.on_links_full(full, now)


def _write(transport: asyncio.Transport, data: Sealed) -> bool:
    """Writes; returns whether the transport keeps a view of `data`.

    A view is of a buffer that is reused once the transport has written all of it, which is the usual case.
    Data that must wait behind other bytes is copied; so a peer that does not read holds one buffer at most.
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
    """The remote address as the kernel sees it; None if it is not an IP address."""
    address = transport.get_extra_info("peername")
    if not address or isinstance(address, str):
        return None
    return Multiaddr.from_endpoint(address[0].partition("%")[0], address[1])
