"""What a connection is: authenticated, for the peer has proved its key, and muxed, many streams each way.

Requests, identify, ping, responders and the whole of `net/` know connections by this page. What makes one of
something is a transport: a folder of its own beside this file (`tcp/`), and one under `net/transports/` for
its sockets.

How one is driven: whatever input it takes, take all `next_event`s afterwards, send what it has to send, and
arm one timer for `next_timer()`, which calls `handle_timer`.
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
"""Takes the bytes of one stream as they come, `(data, now)`, and is done with them when it returns."""

Sealed: TypeAlias = bytes | memoryview
"""Bytes for the network; a view may go back to whoever made it, once it is written."""


class Role(Enum):
    """Which side of a connection we are."""

    DIALER = "dialer"
    LISTENER = "listener"


class ConnectionState(Enum):
    """Where a connection stands."""

    UPGRADING = "upgrading"  # from the start: security, identity and muxer are being agreed
    OPEN = "open"  # `Opened` is out; streams both ways
    CLOSED = "closed"  # `Closed` is out; only the last output still matters


class AnotherPeer(PeerFault):
    """Whoever is there has proved to be somebody else: `found`, a peer id as text."""

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
    """Where the peer is, as the network tells; None where it does not."""
    remote_peer: PeerId | None
    """Proven by the handshake; None before."""
    remote: RemotePeer | None
    """Both, for those who answer the peer; None before the handshake is done."""
    scope: MemoryScope
    """What it is known to hold for its peer; whoever drives it settles it."""

    # What it is doing

    @property
    def stream_count(self) -> int:
        """Streams open now, both ways."""

    @property
    def active_stream_count(self) -> int:
        """Of these, those with something under way: an inbound one between two requests has not."""

    def responder_count(self, protocol: str) -> int:
        """Open inbound streams that a responder serves in `protocol`."""

    @property
    def used_at(self) -> float:
        """When a stream last carried something; of one that is not open yet, when the peer was last heard."""

    @property
    def is_leaving(self) -> bool:
        """Open, but one side takes no new streams any more."""

    @property
    def held_bytes(self) -> int:
        """Bytes held for the peer's sake, but for what the shell has of them: output, input, streams."""

    def unsent_bytes_of(self, stream_id: int) -> int:
        """Bytes that stand before the next one written to that stream."""

    # Streams

    def open_stream(self, protocols: Sequence[str], now: float, *, lazy: bool = False) -> int:
        """Opens a stream and proposes `protocols` in order; `StreamReady` or `NegotiationFailed` follows.

        `lazy`: only the first is proposed, and `send` may be called at once. Raises ConnectionLost when the
        connection takes no streams, LimitExceeded when too many are open.
        """

    def deliver(self, stream_id: int, on_data: OnData) -> None:
        """From now on the bytes of an own stream are no events: they go to `on_data`."""

    def send(self, stream_id: int, data: bytes, now: float) -> None:
        """Queues `data`; StreamFailed when the stream is gone, CallerFault when it is not ready."""

    def close_write(self, stream_id: int, now: float) -> None:
        """Half-closes the stream behind what was sent; StreamFailed when it is gone."""

    def reset(self, stream_id: int, now: float) -> None:
        """Drops the stream, without an event; harmless when it is gone."""

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """`size` bytes of the stream's `StreamData` are done with; harmless when it is gone."""

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
        """Says good-bye; send what there is, then close the transport."""

    def release(self) -> None:
        """After `Closed`, when the transport is gone: lets go of what only the open connection needed."""


class ByteStreamConnection(MuxedConnection, Protocol):
    """A connection that lies in one ordered stream of bytes each way: of TCP, or through a relay."""

    slice_bytes: int
    """Input processed in one go, once the connection is open: a shell with others to serve sets it before,
    and goes on by `resume` when their turn was."""

    @property
    def is_resumable(self) -> bool:
        """Input waits inside and may go on by `resume`."""

    @property
    def wants_read(self) -> bool:
        """False while so much output waits that more input would only be kept."""

    def receive_data(self, data: bytes, now: float) -> None:
        """The next bytes of the transport, in any chunking."""

    def postpone(self, data: bytes, now: float) -> None:
        """As `receive_data`, but nothing is processed before `resume`: others come first."""

    def resume(self, now: float) -> bool:
        """Goes on with input that waits inside, a slice of it; False where none does."""

    def receive_eof(self, now: float) -> None:
        """The peer closed the transport."""

    def pause_output(self, paused: bool) -> None:
        """While the transport's own buffer is full, nothing is prepared ahead, nor `take_output` called."""

    def take_output(self) -> Sealed:
        """Everything that is to be sent now; empty when there is nothing."""
