"""Streams for programs: awaitable reads and writes over an open connection, with back-pressure in both
directions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from fastmarket.errors import FastmarketError, LimitExceeded, StreamFailed
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.scope import source_block
from fastmarket.libp2p.events import (
    Event,
    NegotiationFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReady,
    StreamReset,
)
from fastmarket.libp2p.stream_shares import StreamPlace, StreamShares
from fastmarket.libp2p.streams import ResponderFactory
from fastmarket.net.clock import Clock
from fastmarket.net.link import Link

logger = logging.getLogger(__name__)

# A writer waits while this much of its stream has not reached the muxer: one window of the other side.
MAX_UNSENT_BYTES = 256 * 1024

StreamHandler = Callable[["Stream"], Awaitable[None]]


class Stream:
    """One stream. Each side may write until it has closed its own direction.

    Unread bytes count against the window (256 KiB), so a slow reader slows the writer down.
    """

    def __init__(
        self,
        link: Link,
        stream_id: int,
        clock: Clock,
        protocol: str = "",
        place: StreamPlace | None = None,
    ) -> None:
        """`place`: of one that the peer opened."""
        self.protocol = protocol
        self._finished = False
        self._link = link
        self._stream_id = stream_id
        self._clock = clock
        self._place = place
        self._received = bytearray()
        self._ended = False
        self._failure = ""  # why it has failed; empty: it has not
        self._news = asyncio.Event()
        self._needs_room = False  # a writer waits until the other side reads

    @property
    def remote_peer(self) -> PeerId | None:
        """The peer at the other end."""
        return self._link.remote_peer

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """1 to `limit` bytes as soon as there are any; empty at the end. Raises StreamFailed."""
        while not self._received:
            self._check()
            if self._ended:
                return b""
            await self._wait()
        with memoryview(self._received) as received:
            data = bytes(received[:limit])
        del self._received[:limit]
        self._link.connection.consumed(self._stream_id, len(data), self._clock.now())
        self._link.wake()
        return data

    async def write(self, data: bytes) -> None:
        """Queues the bytes, and waits while the other side does not read. Raises StreamFailed."""
        for start in range(0, len(data), MAX_UNSENT_BYTES):
            while not (self._failure or self._has_room):
                self._needs_room = True
                await self._wait()
            self._needs_room = False
            self._check()
            piece = data[start : start + MAX_UNSENT_BYTES]
            self._link.connection.send(self._stream_id, piece, self._clock.now())
            self._link.wake()

    def close_write(self) -> None:
        """Closes our direction; written bytes are still sent. Raises StreamFailed."""
        self._check()
        self._finished = True
        self._link.connection.close_write(self._stream_id, self._clock.now())
        self._link.wake()

    @property
    def is_over(self) -> bool:
        """Whether neither side will write any more."""
        return bool(self._failure) or (self._ended and self._finished)

    def reset(self) -> None:
        """Ends both directions at once; does nothing if the stream has ended."""
        self._link.connection.reset(self._stream_id, self._clock.now())
        self._fail("reset by us")
        self._link.wake()

    def progressed(self) -> None:
        """A whole message has come: see `StreamBounds.message_s`."""
        if self._place is not None:
            self._place.shares.progressed(self._place, self._clock.now())

    def on_event(self, event: Event) -> None:
        """Takes an event of the stream; for the table."""
        if isinstance(event, StreamData):
            self._received += event.data
        elif isinstance(event, StreamEnded):
            self._ended = True
        elif isinstance(event, StreamReady):
            self.protocol = event.protocol
        elif isinstance(event, NegotiationFailed):
            self._fail("the peer supports none of the protocols")
        elif isinstance(event, StreamReset):
            self._fail(event.reason)
        self._news.set()

    def on_turned(self) -> None:
        """The connection has written, so there may be room; for the table."""
        if self._needs_room and self._has_room:
            self._news.set()

    @property
    def _has_room(self) -> bool:
        return self._link.connection.unsent_bytes_of(self._stream_id) <= MAX_UNSENT_BYTES

    async def wait_ready(self) -> None:
        """Waits until the peer has accepted a protocol. Raises StreamFailed."""
        while not self.protocol:
            self._check()
            await self._wait()

    def _check(self) -> None:
        """A new fault each time. One that was kept here would keep all that was called when it was raised:
        megabytes of a message, until the garbage collector runs."""
        if self._failure:
            raise StreamFailed(self._failure, peer=self._link.remote_peer)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason or "reset"
        self._news.set()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


class StreamTable:
    """The streams of a host that belong to programs: opened by them, or accepted for a handler."""

    def __init__(self, clock: Clock, protocols: dict[str, ResponderFactory | None], faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._protocols = protocols
        self._handlers: dict[str, StreamHandler] = {}
        self._shares: dict[str, StreamShares] = {}
        self._placed: dict[StreamPlace, Stream] = {}  # those with a handler
        self._streams: dict[Link, dict[int, Stream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def has_streams(self) -> bool:
        """Whether any link has such streams."""
        return bool(self._streams)

    def serve(self, protocol: str, handler: StreamHandler, shares: StreamShares | None = None) -> None:
        """`handler(stream)` runs as a task for each inbound stream that has a place in `shares`; others are
        reset. At its end, the stream is reset unless both directions are closed."""
        self._handlers[protocol] = handler
        self._shares[protocol] = StreamShares(protocol) if shares is None else shares
        self._protocols[protocol] = None

    async def open(self, link: Link, protocols: Sequence[str]) -> Stream:
        """Opens a stream in the first of `protocols` that the peer accepts. Raises StreamFailed."""
        stream_id = link.connection.open_stream(protocols, self._clock.now())
        stream = Stream(link, stream_id, self._clock)
        self._streams.setdefault(link, {})[stream_id] = stream
        link.wake()
        try:
            await stream.wait_ready()
        except asyncio.CancelledError:
            stream.reset()  # it would stay open
            raise
        return stream

    def feed(self, link: Link, event: Event) -> bool:
        """Takes the events of these streams; False for any other."""
        if isinstance(event, StreamOpened):
            self._accept(link, event)
            return True
        known = self._streams.get(link, {})
        stream_id = getattr(event, "stream_id", -1)
        if stream_id not in known:
            return False
        known[stream_id].on_event(event)
        return True

    def _accept(self, link: Link, event: StreamOpened) -> None:
        peer, now = link.remote_peer, self._clock.now()
        assert peer is not None  # a stream comes after the handshake
        try:
            place = self._shares[event.protocol].enter(peer, source_block(link.connection.remote_addr), now)
        except LimitExceeded as fault:
            logger.debug("%s", fault)
            link.connection.reset(event.stream_id, now)
            return
        stream = Stream(link, event.stream_id, self._clock, event.protocol, place)
        self._streams.setdefault(link, {})[event.stream_id] = stream
        self._placed[place] = stream
        task = asyncio.ensure_future(self._run(self._handlers[event.protocol], stream, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep(self, now: float) -> None:
        """Resets streams that have brought no whole message for too long."""
        for shares in self._shares.values():
            for place in shares.take_overdue(now):
                self._placed[place].reset()

    def on_turned(self, link: Link) -> None:
        """A link has written its output."""
        known = self._streams.get(link)
        if known:
            for stream_id, stream in list(known.items()):
                stream.on_turned()
                if stream.is_over:
                    del known[stream_id]

    def on_lost(self, link: Link) -> None:
        """A link has ended, and with it all its streams."""
        for stream_id, stream in self._streams.pop(link, {}).items():
            stream.on_event(StreamReset(stream_id, "the connection ended"))

    async def close(self) -> None:
        """Ends the handlers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, handler: StreamHandler, stream: Stream, place: StreamPlace) -> None:
        try:
            await handler(stream)
        except FastmarketError as fault:
            logger.debug("%s: %s", stream.protocol, fault)
        except Exception as error:  # noqa: BLE001 - it costs this stream
            self._faults.tell(f"the handler of {stream.protocol}", error, stream.remote_peer)
        finally:
            place.shares.leave(place)
            self._placed.pop(place, None)
            if not stream.is_over:
                stream.reset()
