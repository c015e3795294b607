"""Replies that go through one buffer for all connections arrive as they were, whoever reads how slowly."""

from __future__ import annotations

import asyncio
import socket
from hashlib import sha256

import pytest

from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.libp2p.muxed import Sealed
from fastmarket.libp2p.tcp import output
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.output import OUTPUT_BYTES
from fastmarket.net.streams import Stream
from fastmarket.net.transports.tcp import link as links
from fastmarket.net.transports.tcp.link import TcpLink
from tests.conftest import Run
from tests.net.guests import come, guests
from tests.net.loopback import nodes, until

LONG = "/test/long/1.0.0"
REPLY_BYTES = 12_000


def reply_to(request: bytes) -> bytes:
    """Others for every request, so that a byte of another place or time would be seen."""
    seed = sha256(request).digest()
    return b"".join(sha256(seed + bytes([n])).digest() for n in range(250)) * (REPLY_BYTES // 8000 + 1)


def long(peer: RemotePeer, body: bytes, now: float) -> bytes:
    return reply_to(body)


async def ask(stream: Stream, name: bytes, count: int) -> None:
    """Asks all at once, and reads all that comes."""
    await stream.write(b"".join(frame(name + b" %d" % number) for number in range(count)))
    decoder, got = FrameDecoder(1 << 20), 0
    while got < count:
        for body in decoder.feed(await stream.read()):
            assert body == reply_to(name + b" %d" % got)
            got += 1


async def halting(link: TcpLink, asked: asyncio.Future[list[None]]) -> None:
    """Lets the other side's bytes pile up in the kernel again and again."""
    while not asked.done():
        transport = link._transport
        assert transport is not None
        transport.pause_reading()
        for _ in range(20):
            await asyncio.sleep(0)
        if link.connection.wants_read:
            transport.resume_reading()
        await asyncio.sleep(0)


def narrow(link: TcpLink | None) -> None:
    """The kernel takes little of what it is given."""
    assert link is not None
    assert link._transport is not None
    link._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)


@pytest.mark.parametrize("written", ["at once", "in part"])
def test_every_reply_arrives_as_it_was(run: Run[None], monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    kinds: set[str] = set()
    taken = Connection.take_output

    def watched(connection: Connection) -> Sealed:
        sealed = taken(connection)
        kinds.add(type(sealed).__name__)
        return sealed

    waiting: list[int] = []
    write = links._write

    def watched_write(transport: asyncio.Transport, data: Sealed) -> None:
        write(transport, data)
        waiting.append(transport.get_write_buffer_size())

    monkeypatch.setattr(Connection, "take_output", watched)
    monkeypatch.setattr(links, "_write", watched_write)

    async def scenario() -> None:
        async with nodes(1) as (node,), guests(3) as peers:
            node.host.serve(LONG, long, 100)
            streams: list[tuple[Stream, bytes]] = []
            met: list[TcpLink] = []
            for number, peer in enumerate(peers):
                link = await come(peer, node)
                assert link is not None
                met.append(link)
                if written == "in part":
                    narrow(node.host.link_to(peer.peer_id))
                for place in range(6):
                    stream = await peer.host.streams.open(link, [LONG])
                    streams.append((stream, b"%d %d" % (number, place)))
            async with asyncio.timeout(25):
                asked = asyncio.gather(*(ask(stream, name, 60) for stream, name in streams))
                if written == "in part":
                    await asyncio.gather(asked, *(halting(link, asked) for link in met[:2]))
                await asked

    run(scenario())
    assert kinds == {"bytes", "memoryview"}
    assert not all(waiting)
    assert any(waiting) or written == "at once"
    assert len(output._spare) <= 1


def test_a_peer_that_does_not_read_holds_one_buffer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,), guests(1) as (deaf,):
            node.host.serve(LONG, long, 100)
            link = await come(deaf, node)
            assert link is not None
            streams = [await deaf.host.streams.open(link, [LONG]) for _ in range(60)]
            there = node.host.link_to(deaf.peer_id)
            assert there is not None
            assert link._transport is not None
            assert there._transport is not None
            narrow(there)
            link._transport.pause_reading()
            for stream in streams:
                await stream.write(b"".join(frame(b"%d" % number) for number in range(40)))
            await until(lambda: there._writing_paused and not there.connection.wants_read)
            assert there.connection.output.size <= OUTPUT_BYTES
            piece = there.connection.config.max_unsent_bytes + 2 * REPLY_BYTES
            high = links.WRITE_HIGH_WATER_BYTES
            assert high < there._transport.get_write_buffer_size() < high + OUTPUT_BYTES
            assert there.connection.output.size + piece < OUTPUT_BYTES

    run(scenario())
