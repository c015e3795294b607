"""Responders: what answers an inbound stream inside the turn that brought its bytes."""

from __future__ import annotations

from typing import Protocol

from fastmarket.errors import PeerFault
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import FrameDecoder, frame, try_uvarint

_ONE_BYTE_LENGTH = 0x7F  # the largest length a one-byte uvarint says


class Responder(Protocol):
    """One inbound stream's protocol. Each method returns bytes to write; a PeerFault resets the stream.

    `is_finished`: close our writing side after the bytes returned. `is_quiet`: where none were, all that came
    was answered, by nothing: none of it waits.
    """

    is_finished: bool
    is_quiet: bool

    def on_open(self, now: float) -> bytes:
        """Once the protocol is agreed."""

    def on_data(self, data: bytes, now: float) -> bytes:
        """The next bytes, in any chunking."""

    def on_end(self, now: float) -> bytes:
        """The peer wrote its last byte; our side closes after the bytes returned."""


class ResponderFactory(Protocol):
    """Makes the responder of one new stream, opened by `peer`."""

    def __call__(self, peer: RemotePeer, /) -> Responder: ...


class RpcHandler(Protocol):
    """(peer, request, now) -> reply, or None for none, bodies all; a PeerFault resets the stream."""

    def __call__(self, peer: RemotePeer, request: bytes, now: float, /) -> bytes | None: ...


class RpcResponder:
    """Requests and replies, each behind its uvarint length, any number on one stream, answered in order.

    `limit` bounds a request, in bytes.
    """

    __slots__ = ("_decoder", "_handle", "is_finished", "is_quiet", "limit", "peer")

    def __init__(self, peer: RemotePeer, handle: RpcHandler, limit: int) -> None:
        self.peer = peer
        self._handle = handle
        self.limit = limit
        self._decoder: FrameDecoder | None = None  # only while a request has come in part
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, handle: RpcHandler, limit: int) -> ResponderFactory:
        """For the table of protocols."""
        return lambda peer: cls(peer, handle, limit)

    @property
    def whole(self) -> RpcHandler | None:
        """What answers the next request if it comes whole; None while one has come in part."""
        return self._handle if self._decoder is None else None

    def on_open(self, now: float) -> bytes:
        return b""

    def piece(self, data: bytes | bytearray) -> int:
        """How many bytes of `data` hold one request, or what there is of it. So its answer can be taken
        before the next one is made: 20 requests fit in a kilobyte, and their answers take megabytes."""
        if self._decoder is not None:
            return min(self._decoder.missing, len(data))
        try:
            head = try_uvarint(data)
        except PeerFault:
            return len(data)  # `on_data` says so
        return len(data) if head is None else min(head[0] + head[1], len(data))

    def on_data(self, data: bytes, now: float) -> bytes:
        # The common case first: one whole request of at most two length bytes, nothing held.
        if self._decoder is None and len(data) > 2:
            size, start = data[0], 1
            if size > _ONE_BYTE_LENGTH:
                size, start = (size & _ONE_BYTE_LENGTH) | data[1] << 7, 2
            if start + size == len(data) and size <= self.limit and (start == 1 or 0 < data[1] < 0x80):
                reply = self._handle(self.peer, data[start:], now)
                self.is_quiet = reply is None
                return b"" if reply is None else frame(reply)
        return self._decode(data, now)

    def _decode(self, data: bytes, now: float) -> bytes:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = FrameDecoder(self.limit)
        replies = []
        bodies = decoder.feed(data)
        for body in bodies:
            reply = self._handle(self.peer, body, now)
            if reply is not None:
                replies.append(frame(reply))
        if not decoder.pending:
            self._decoder = None
        self.is_quiet = bool(bodies) and self._decoder is None
        return b"".join(replies)

    def on_end(self, now: float) -> bytes:
        return b""
