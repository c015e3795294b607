"""Streams on which peers send us messages: how many a peer may have, and how much of messages in part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastmarket.config.bitswap import BitswapConfig
from fastmarket.errors import LimitExceeded
from fastmarket.exchange.bitswap.message import MAX_MESSAGE_BYTES, BitswapMessage, decode_message
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import FrameDecoder
from fastmarket.libp2p.stream_shares import StreamBounds, StreamShares
from fastmarket.net.streams import Stream

_READ_BYTES = 256 << 10  # taken of a stream at a time: its window


@dataclass(slots=True)
class _Sender:
    """A peer with open streams."""

    streams: int = 0
    partial_bytes: int = 0


class Inbound:
    """`on_message(peer, message)` is called for each message; a PeerFault that it raises ends the stream."""

    def __init__(self, config: BitswapConfig, on_message: Callable[[PeerId, BitswapMessage], None]) -> None:
        self._config = config
        self._on_message = on_message
        self._senders: dict[PeerId, _Sender] = {}  # those with streams, so no more than connections
        self.shares = StreamShares(
            "bitswap",
            StreamBounds(
                config.max_streams_per_peer,
                config.max_streams_per_block,
                config.max_streams,
                config.message_timeout_s,
            ),
        )
        """Of its streams."""
        self.partial_bytes = 0
        """Of messages that have come in part, of all peers."""

    async def read(self, stream: Stream) -> None:
        """Handles one stream to its end: nothing is ever written on it. Raises PeerFault, NetworkFault."""
        peer = stream.remote_peer
        assert peer is not None  # a stream comes after the handshake
        sender = self._senders.setdefault(peer, _Sender())
        decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        sender.streams += 1
        try:
            stream.close_write()
            while data := await stream.read(_READ_BYTES):
                before = decoder.pending
                bodies = decoder.feed(data)
                self._account(sender, decoder.pending - before)
                if bodies:
                    stream.progressed()
                for body in bodies:
                    self._on_message(peer, decode_message(body))
        finally:
            sender.streams -= 1
            self._account(sender, -decoder.pending, checks=False)
            if not sender.streams:
                del self._senders[peer]

    def _account(self, sender: _Sender, change: int, *, checks: bool = True) -> None:
        config = self._config
        sender.partial_bytes += change
        self.partial_bytes += change
        if checks and change > 0:
            for held, most in (
                (sender.partial_bytes, config.max_partial_bytes),
                (self.partial_bytes, config.max_all_partial_bytes),
            ):
                if held > most:
                    raise LimitExceeded("bytes of messages in part", most, held, protocol="bitswap")
