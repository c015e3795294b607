"""Responders: they answer an inbound stream within the turn that delivered its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastmarket.errors import PeerFault
from fastmarket.formats.varint import FrameDecoder, frame, try_uvarint

if TYPE_CHECKING:
    from fastmarket.libp2p.connection import Connection

_ONE_BYTE_LENGTH = 0x7F  # the largest length in a one-byte uvarint


class Responder(Protocol):
    """One inbound stream's protocol. Each method returns bytes to write; a PeerFault resets the stream.

    `finished`: close our writing side after the returned bytes. `quiet`: if none were returned, everything
    received so far has been processed and needs no answer.
    """

    finished: bool
    quiet: bool

    def opened(self, now: float) -> bytes:
        """Called once the protocol is agreed."""

    def received(self, data: bytes, now: float) -> bytes:
        """Takes the next bytes, in any chunking."""

    def ended(self, now: float) -> bytes:
        """The peer wrote its last byte; our side closes after the returned bytes."""


class ResponderFactory(Protocol):
    """Creates the responder of one new stream."""

    def __call__(self, connection: Connection, /) -> Responder: ...


class RpcHandler(Protocol):
    """(connection, request, now) -> reply, or None for no reply, all unframed; a PeerFault resets the
    stream."""

    def __call__(self, connection: Connection, request: bytes, now: float, /) -> bytes | None: ...


class RpcResponder:
    """Requests and replies, each with a uvarint length prefix, any number on one stream, answered in order.

    `limit`: maximum bytes of a request.
    """

    __slots__ = ("_decoder", "_handle", "connection", "finished", "limit", "quiet")

    def __init__(self, connection: Connection, handle: RpcHandler, limit: int) -> None:
        self.connection = connection
        self._handle = handle
        self.limit = limit
        self._decoder: FrameDecoder | None = None  # only while a request is incomplete
        self.finished = False
        self.quiet = False

    @classmethod
    def factory(cls, handle: RpcHandler, limit: int) -> ResponderFactory:
        """For the table of protocols."""
        return lambda connection: cls(connection, handle, limit)

    @property
    def whole(self) -> RpcHandler | None:
        """The handler of the next request if it arrives complete; None while one is incomplete."""
        return self._handle if self._decoder is None else None

    def opened(self, now: float) -> bytes:
        return b""

    def piece(self, data: bytes | bytearray) -> int:
        """How many bytes of `data` belong to one request, or to its beginning. So its answer can be sent
        before the next one is made: 20 requests fit into a kilobyte, and their answers take megabytes."""
        if self._decoder is not None:
            return min(self._decoder.missing, len(data))
        try:
            head = try_uvarint(data)
        except PeerFault:
            return len(data)  # `received` reports it
        return len(data) if head is None else min(head[0] + head[1], len(data))

    def received(self, data: bytes, now: float) -> bytes:
        # The common case first: one whole request of at most two length bytes, nothing held.
        if self._decoder is None and len(data) > 2:
            size, start = data[0], 1
            if size > _ONE_BYTE_LENGTH:
                size, start = (size & _ONE_BYTE_LENGTH) | data[1] << 7, 2
            if start + size == len(data) and size <= self.limit and (start == 1 or 0 < data[1] < 0x80):
                reply = self._handle(self.connection, data[start:], now)
                self.quiet = reply is None
                return b"" if reply is None else frame(reply)
        return self._decode(data, now)

    def _decode(self, data: bytes, now: float) -> bytes:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = FrameDecoder(self.limit)
        replies = []
        bodies = decoder.feed(data)
        for body in bodies:
            reply = self._handle(self.connection, body, now)
            if reply is not None:
                replies.append(frame(reply))
        if not decoder.pending:
            self._decoder = None
        self.quiet = bool(bodies) and self._decoder is None
        return b"".join(replies)

    def ended(self, now: float) -> bytes:
        return b""
