"""Streams on which peers pay: each frame is answered, in order, before the next one is read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from fastmarket.errors import StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.libp2p.stream_shares import StreamBounds, StreamShares
from fastmarket.net.host import Host
from fastmarket.net.streams import Stream
from fastmarket.payments.frames import MAX_FRAME_BYTES, TAB_PROTOCOL, Told, read_asked, told_frame
from fastmarket.payments.peer_sales import PeerSales
from fastmarket.payments.reasons import Reason
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.seller import CheckedReceipt
from fastmarket.payments.x402 import Payment

BOUNDS = StreamBounds(per_peer=2, per_block=256, total=1024, message_s=60.0)
"""A purchase, and a payment of what was left of another one. Each may hold one frame in part, 12 KiB. Peers
that have paid before are refused last. A minute: as a stream without traffic."""

READ_BYTES = 4096
"""Taken of a stream at once: a payment with a receipt takes some 1,500."""


class ReceiptWriter(Protocol):
    """The disk."""

    def put(self, rows: Sequence[SellerRow]) -> asyncio.Future[None]:
        """Completes when the rows are on disk; raises StorageFault."""


class TabStreams:
    """The seller's side."""

    def __init__(self, host: Host, sales: PeerSales, writer: ReceiptWriter, now: Callable[[], float]) -> None:
        """`now`: Unix seconds."""
        self._host = host
        self._sales = sales
        self._writer = writer
        self._now = now
        self._streams: Counter[PeerId] = Counter()

    def start(self) -> None:
        """Takes streams from now on."""
        shares = StreamShares("payment", BOUNDS, self._sales.has_paid)
        self._host.streams.serve(TAB_PROTOCOL, self._serve, shares)

    async def _serve(self, stream: Stream) -> None:
        """One stream to its end. Raises PeerFault, NetworkFault."""
        peer = stream.remote_peer
        assert peer is not None  # a stream comes after the handshake
        self._streams[peer] += 1
        try:
            decoder = FrameDecoder(MAX_FRAME_BYTES)
            while data := await stream.read(READ_BYTES):
                for body in decoder.feed(data):
                    stream.progressed()
                    await stream.write(frame(told_frame(await self._answer(peer, body), peer)))
            stream.close_write()
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
                self._sales.end(peer)

    async def _answer(self, peer: PeerId, body: bytes) -> Told:
        asked = read_asked(body)
        if not isinstance(asked, Payment):
            return self._sales.quote(peer, asked)
        found = self._sales.take(asked, self._address(peer), self._now())
        if isinstance(found, CheckedReceipt) and found.row is not None:
            found = await self._write(found, [found.row])
        if isinstance(found, Reason):
            return self._sales.refusal(peer, asked, found)
        return self._sales.agree(peer, asked, self._now())

    async def _write(self, checked: CheckedReceipt, rows: Sequence[SellerRow]) -> Reason | None:
        """Whoever else waits for the disk, and also if this stream ends meanwhile, the receipt counts when it
        is written."""
        written = asyncio.ensure_future(self._confirm(checked, rows))
        return await asyncio.shield(written)

    async def _confirm(self, checked: CheckedReceipt, rows: Sequence[SellerRow]) -> Reason | None:
        tabs = self._sales.till.tabs
        try:
            await self._writer.put(rows)
        except StorageFault:
            tabs.drop_receipt(checked.account)
            return Reason.DISK
        tabs.confirm_receipt(checked.account, self._now())
        return None

    def _address(self, peer: PeerId) -> str:
        link = self._host.link_to(peer)
        addr = None if link is None else link.connection.remote_addr
        endpoint = None if addr is None else addr.host_port()
        return "" if endpoint is None else endpoint.host
