"""Connections of one address to the gRPC port: real ones, counted as the system shows them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio
import pytest

from fastmarket.config import MarketConfig
from fastmarket.market.crowds import Crowds
from fastmarket.market.grpc_client import MarketClient
from tests.net.loopback import until
from tests.net.test_grpc import served

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(port: int, host: str) -> Stream:
    """With the first bytes of HTTP/2: one that says nothing stays in the kernel (`test_silent.py`)."""
    stream = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    stream[1].write(b"PRI")
    return stream


async def is_over(stream: Stream) -> bool:
    try:
        while await stream[0].read(1000):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="where descriptors are listed")
def test_an_address_keeps_its_part_and_its_eldest(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            await client.get_node()
            crowds = Crowds(market.port, 3, 100)
            eldest = [await connect(market.port, "127.0.0.9") for _ in range(3)]
            other = await connect(market.port, "127.0.0.8")
            # gRPC accepts them in its own threads: they are looked for until all are there.
            await until(lambda: crowds.look(0.0) is None and len(crowds) == 5)
            latest = [await connect(market.port, "127.0.0.9") for _ in range(4)]

            def look() -> bool:
                crowds.look(0.0)
                return crowds.ended == 4

            await until(look)
            assert await asyncio.gather(*map(is_over, latest)) == [True] * 4
            crowds.look(0.0)
            assert crowds.ended == 4
            over = [asyncio.create_task(is_over(stream)) for stream in (*eldest, other)]
            await client.get_node()
            assert not any(task.done() for task in over)
            for task in over:
                task.cancel()
            for _, writer in (*eldest, *latest, other):
                writer.close()

    run(main())
    assert "ended connections of 127.0.0.9 to the gRPC port: more than 3" in caplog.text


def test_the_port_has_a_bound_and_connections_that_fall_silent_end(run: Any) -> None:
    config = MarketConfig(port=0, max_connections=4, spare_connections=0, handshake_timeout_s=0.3)

    async def main() -> None:
        async with served(config) as (market, _, _):
            first = [await connect(market.port, "127.0.0.1") for _ in range(4)]
            await asyncio.gather(*map(is_over, first))
            async with MarketClient(market.target) as client:
                assert await client.get_node()
            crowd = [await connect(market.port, "127.0.0.1") for _ in range(40)]
            await asyncio.gather(*map(is_over, crowd))
            async with grpc.aio.insecure_channel(market.target) as channel:
                await channel.channel_ready()
            for _, writer in (*first, *crowd):
                writer.close()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="where descriptors are listed")
def test_a_connection_that_says_nothing_is_ended_at_the_second_look(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when the kernel hands them over after a minute.
    monkeypatch.setattr("fastmarket.deferred_accept._FIRST_BYTES", None)

    async def main() -> None:
        async with served() as (market, client, _):
            await client.get_node()
            crowds = Crowds(market.port, 100, 100)
            silent = [
                await asyncio.open_connection("127.0.0.1", market.port, local_addr=("127.0.0.9", 0))
                for _ in range(3)
            ]
            speaking = await connect(market.port, "127.0.0.9")
            await until(lambda: crowds.look(0.0) is None and crowds.ended == 3)
            assert await asyncio.gather(*map(is_over, silent)) == [True] * 3
            over = asyncio.create_task(is_over(speaking))
            for _ in range(3):
                crowds.look(0.0)
            await client.get_node()
            assert crowds.ended == 3
            assert not over.done()
            over.cancel()
            for _, writer in (*silent, speaking):
                writer.close()

    run(main())
