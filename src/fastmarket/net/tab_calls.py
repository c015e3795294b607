"""Pays a peer on a stream: one frame, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from fastmarket.errors import DialFailed, PeerFault, StreamFailed
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.net.bitswap.outbox import FindPeer
from fastmarket.net.host import Host
from fastmarket.net.streams import Stream
from fastmarket.payments.frames import (
    MAX_FRAME_BYTES,
    TAB_PROTOCOL,
    Told,
    payment_frame,
    price_frame,
    read_told,
)
from fastmarket.payments.x402 import Payment

ANSWER_S = 30.0
"""For an answer: a seller writes a receipt to its disk first."""


class TabCall:
    """The buyer's side of one stream."""

    def __init__(self, host: Host, peer: PeerInfo, find_peer: FindPeer | None = None) -> None:
        """A peer without addresses that is not connected is looked for by `find_peer`."""
        self._host = host
        self._peer = peer
        self._find_peer = find_peer
        self._stream: Stream | None = None
        self._decoder = FrameDecoder(MAX_FRAME_BYTES)
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Raises NetworkFault, TimeoutError."""
        async with asyncio.timeout(ANSWER_S):
            try:
                link = await self._host.connect(self._peer, given=False)
            except DialFailed:
                find = None if self._peer.addrs else self._find_peer
                found = None if find is None else await find(self._peer.peer_id)
                if found is None:
                    raise
                link = await self._host.connect(found, given=False)
            self._stream = await self._host.streams.open(link, (TAB_PROTOCOL,))

    def close(self) -> None:
        """Harmless if it is not open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(StreamFailed):  # it ended before
                stream.close_write()
                stream.reset()

    async def price(self, content: bytes) -> Told:
        """What a content (multihash) costs; b"": only how the tab stands. Raises NetworkFault, PeerFault,
        TimeoutError."""
        return await self._ask(price_frame(content))

    async def pay(self, payment: Payment) -> Told:
        """Likewise."""
        return await self._ask(payment_frame(payment))

    async def _ask(self, body: bytes) -> Told:
        stream = self._stream
        assert stream is not None, "it must be open"
        async with self._turn, asyncio.timeout(ANSWER_S):
            await stream.write(frame(body))
            bodies: Sequence[bytes] = ()
            while not bodies:
                data = await stream.read()
                if not data:
                    raise StreamFailed("it ended the stream", peer=self._peer.peer_id)
                bodies = self._decoder.feed(data)
        if len(bodies) > 1:
            raise PeerFault("more answers than were asked for", protocol="payment")
        return read_told(bodies[0])
