"""What a connection is: authenticated (the peer has proved its key) and muxed (many streams, each both ways).

Requests, identify, ping, responders and all of `net/` know a connection only by what this module states.
A transport implements it: one folder beside this file (`tcp/`), and one in `net/transports/` for its sockets.

How to drive a connection: after any input take all `next_event`s, send what it has to send, and arm one timer
for `next_timer()`, which calls `handle_timer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol, TypeAlias

from fastmarket.config import ConnectionConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.events import Event
from fastmarket.libp2p.scopes import MemoryScope

OnData: TypeAlias = Callable[[bytes, float], None]
"""`(data, now)`: takes the bytes of one stream as they arrive, and has processed them when it returns."""

Sealed: TypeAlias = bytes | memoryview
"""Bytes for the network. A view may be given back to the connection's buffers once it is written."""


class Role(Enum):
    """Which side of a connection we are."""

    DIALER = "dialer"
    LISTENER = "listener"


class ConnectionState(Enum):
    """The state of a connection."""

    UPGRADING = "upgrading"  # initially: security, identity and muxer are being negotiated
    OPEN = "open"  # `Opened` has been emitted; streams both ways
    CLOSED = "closed"  # `Closed` has been emitted; only the last output still matters


class AnotherPeer(PeerFault):
    """The other end proved the key of another peer: `found`, a peer id as text."""

    def __init__(self, expected: str, found: str, *, protocol: str) -> None:
        super().__init__(f"expected {expected}, found {found}", protocol=protocol)
        self.expected = expected
        self.found = found


class MuxedConnection(Protocol):
    """One connection, either role. What the peer does never raises: the worst is the event `Closed`."""

    config: ConnectionConfig
    role: Role
    state: ConnectionState
    remote_addr: Multiaddr | None
    """The peer's address as the network reports it; None if it does not."""
    remote_peer: PeerId | None
    """Proved by the handshake; None before it is done."""
    remote: RemotePeer | None
    """The same with its address, as responders get it; None before the handshake is done."""
    scope: MemoryScope
    """Bytes held for the peer; the driver of the connection settles it."""

    # What it is doing

    @property
    def stream_count(self) -> int:
        """Streams open now, both ways."""

    def has_active_streams(self, beyond: int) -> bool:
        """Whether more than `beyond` have something under way; an inbound stream between two requests does
        not count. Looks at no more of them than it has to."""

    def responder_count(self, protocol: str) -> int:
        """Open inbound streams that a responder of `protocol` serves."""

    @property
    def used_at(self) -> float:
        """When a stream last carried something; before the connection is open, when the peer last sent."""

    @property
    def is_leaving(self) -> bool:
        """The connection is open, but one side accepts no new streams."""

    @property
    def held_bytes(self) -> int:
        """Bytes held for the peer inside the connection: output, input, streams."""

    def unsent_bytes_of(self, stream_id: int) -> int:
        """Bytes queued before the next byte written to that stream."""

    # Streams

    def open_stream(self, protocols: Sequence[str], now: float, *, lazy: bool = False) -> int:
        """Opens a stream and proposes `protocols` in order; `StreamReady` or `NegotiationFailed` follows.

        `lazy`: only the first is proposed, and `send` may be called at once. Raises ConnectionLost when the
        connection takes no streams, LimitExceeded when too many are open.
        """

    def deliver(self, stream_id: int, on_data: OnData) -> None:
        """From now on the bytes of a stream of ours go to `on_data`, not into events."""

    def send(self, stream_id: int, data: bytes, now: float) -> None:
        """Queues `data`; StreamFailed when the stream is gone, CallerFault when it is not ready."""

    def close_write(self, stream_id: int, now: float) -> None:
        """Half-closes the stream behind what was sent; StreamFailed when it is gone."""

    def reset(self, stream_id: int, now: float) -> None:
        """Drops the stream, without an event; harmless when it is gone."""

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """`size` bytes of the stream's `StreamData` were processed; harmless when it is gone."""

    # Events and time

    def next_event(self) -> Event | None:
        """The oldest event not yet taken."""

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None once closed."""

    def handle_timer(self, now: float) -> None:
        """Does what is due by `now`; harmless when nothing is."""

    def ping(self, now: float) -> None:
        """Measures the round trip, for `PingAnswered`; a call while one is under way does nothing."""

    # The end

    def leave(self, now: float) -> None:
        """Asks the peer to end the connection when what is under way has ended; no new streams of ours."""

    def close(self, now: float) -> None:
        """Says good-bye; send the output that is left, then close the transport."""

    def release(self) -> None:
        """After `Closed`, when the transport is gone: drops what only the open connection needed."""


class ByteStreamConnection(MuxedConnection, Protocol):
    """A connection over one ordered stream of bytes each way: TCP, or a stream through a relay."""

    slice_bytes: int
    """Bytes of input processed in one go once the connection is open. A driver with other connections to
    serve sets it first, and continues by `resume` after their turn."""

    @property
    def is_resumable(self) -> bool:
        """Input waits inside, and `resume` can process it."""

    @property
    def wants_read(self) -> bool:
        """False while so much output waits that more input would only be queued."""

    def receive_data(self, data: bytes, now: float) -> None:
        """The next bytes of the transport, in any chunking."""

    def postpone(self, data: bytes, now: float) -> None:
        """As `receive_data`, but nothing is processed before `resume`: others come first."""

    def resume(self, now: float) -> bool:
        """Processes the next slice of the input that waits inside; False if there is none."""

    def receive_eof(self, now: float) -> None:
        """The peer closed the transport."""

    def pause_output(self, paused: bool) -> None:
        """The transport's own buffer is full: until the call with False nothing is prepared ahead, and
        `take_output` is not called."""

    def take_output(self) -> Sealed:
        """All bytes to send now; empty if there are none."""
