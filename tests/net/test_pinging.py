"""Pings over real sockets."""

from __future__ import annotations

import pytest

from fastmarket.errors import PeerFault, StreamFailed
from fastmarket.libp2p.ping import PING_PROTOCOL
from fastmarket.net.pinging import ping
from fastmarket.net.streams import Stream
from tests.conftest import Run
from tests.net.loopback import nodes, seed, until


def test_a_thousand_pings_over_one_stream(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            times = await ping(b.host, link, 1000)
            assert len(times) == 1000
            assert all(0 <= rtt < 30 for rtt in times)
            await until(lambda: link.connection.stream_count == 0)

    run(scenario())


async def lie(stream: Stream) -> None:
    await stream.read()
    await stream.write(bytes(32))


async def hang_up(stream: Stream) -> None:
    await stream.read()
    stream.close_write()
    await stream.read()


def test_other_bytes_and_an_early_end_are_faults(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            a.host.streams.serve(PING_PROTOCOL, lie)
            with pytest.raises(PeerFault, match="differs from the bytes sent"):
                await ping(b.host, link)
            a.host.streams.serve(PING_PROTOCOL, hang_up)
            with pytest.raises(StreamFailed, match="ended before"):
                await ping(b.host, link)

    run(scenario())
