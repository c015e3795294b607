"""Dials back for AutoNAT: from a connection of its own, with a key of its own, which is closed afterwards.

The asker's other connections, and what we know of it, have no part in it: its connection to us may be what
lets us through its firewall. Outbound connections never have the listening port as their source.
"""

from __future__ import annotations

import asyncio
import os

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import Identity
from fastmarket.formats.varint import FrameDecoder
from fastmarket.libp2p.autonat.messages import (
    DIAL_BACK_PROTOCOL,
    MAX_DIAL_BACK_BYTES,
    DialStatus,
    dial_back_frame,
)
from fastmarket.libp2p.autonat.server import DIAL_BACK_S, DIAL_S, Dial
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Event
from fastmarket.libp2p.outcomes import RequestResult
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.net.host import Host
from fastmarket.net.link import Link
from fastmarket.net.streams import StreamTable
from fastmarket.net.transports.table import Transports, endpoint_of


class DialBackDialer:
    """The owner of those connections, which serves nothing on them."""

    def __init__(self, host: Host, config: NodeConfig) -> None:
        self.traffic = host.traffic
        self.run_queue = host.run_queue
        self._clock = host.clock
        identity = Identity.from_seed(os.urandom(32))
        endpoint = Endpoint.create(identity, os.urandom, {}, config.connection, host.memory)
        self._transports = Transports(self, endpoint, host.clock)
        self._streams = StreamTable(host.clock, {}, host.faults)

    async def dial_back(self, dial: Dial) -> DialStatus:
        """Connects there, and hands over the nonce."""
        await asyncio.sleep(dial.wait_s)
        found = endpoint_of(dial.addr)
        if found is None:
            return DialStatus.NO_CONNECTION
        transport, endpoint = found
        target = Target(dial.addr, transport, endpoint.host, endpoint.port)
        try:
            async with asyncio.timeout(DIAL_S):
                link = await self._transports.dial(target, dial.peer)
        except (TimeoutError, OSError, FastmarketError):
            return DialStatus.NO_CONNECTION
        try:
            async with asyncio.timeout(DIAL_BACK_S):
                return await self._hand_over(link, dial.nonce)
        except (TimeoutError, FastmarketError):
            return DialStatus.NO_DIAL_BACK
        finally:
            link.close(self._clock.now())

    async def _hand_over(self, link: Link, nonce: int) -> DialStatus:
        stream = await self._streams.open(link, [DIAL_BACK_PROTOCOL])
        await stream.write(dial_back_frame(nonce))
        stream.close_write()
        answers = FrameDecoder(MAX_DIAL_BACK_BYTES)
        # Some peers close the stream in the place of an answer: then the nonce has arrived, too.
        while (data := await stream.read()) and not answers.feed(data):
            pass
        return DialStatus.OK

    # -- LinkOwner

    def on_link_made(self, link: Link) -> bool:
        return True

    def on_link_event(self, link: Link, event: Event, now: float) -> None:
        self._streams.feed(link, event)

    def on_link_outcome(self, link: Link, outcome: RequestResult) -> None:
        """Of requests, of which there are none."""

    def on_link_turned(self, link: Link, now: float) -> None:
        self._streams.on_turned(link)

    def on_links_full(self, full: MemoryScope, now: float) -> None:
        """There are few, and each ends soon."""

    def on_link_lost(self, link: Link) -> None:
        self._streams.on_lost(link)
