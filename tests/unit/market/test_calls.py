"""Messages of a stream on their way to answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty

from fastmarket.config import MarketConfig
from fastmarket.market.access import AccessScope
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Calls, CallStream, Method, Work
from fastmarket.market.guard import CallTimer, Registry
from fastmarket.market.sharing import Slots
from tests.net.loopback import until


def test_a_call_that_is_ended_while_it_ends_gives_back_its_slots(run: Any) -> None:
    work = Work(MarketConfig())
    begun, ending, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(raw: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()
        return raw

    async def requests() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.Event().wait()

    async def call() -> None:
        async with aclosing(CallStream(requests(), answer, work, in_order=True).answers(4)) as answers:
            async for _ in answers:
                pass

    async def main() -> None:
        task = asyncio.ensure_future(call())
        await begun.wait()
        assert work.messages.used == 1
        task.cancel()
        await ending.wait()
        task.cancel()
        await asyncio.wait([task])
        end.set()
        assert work.messages.used == 0

    run(main())


def test_messages_that_take_much_are_parsed_only_with_a_slot(run: Any) -> None:
    """Each takes many times its bytes once it is parsed; until then it waits as it came."""
    config = MarketConfig()
    work, slots = Work(config), Slots(4)
    parsed, most, go_on = 0, 0, asyncio.Event()

    async def respond(_: Empty, deadline_s: float | None) -> Empty:
        nonlocal parsed, most
        parsed += 1
        most = max(most, parsed)
        await go_on.wait()
        parsed -= 1
        return Empty()

    async def main() -> None:
        methods = {
            "Each": Method(AccessScope.READ, Calls(work, config).each(Empty, respond, 8, 9, 9, slots=slots))
        }
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        Registry(server, CallTimer(Bounds(8, 8, 8), 30.0, 30.0)).add("test.Parsed", methods)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream("/test.Parsed/Each")(iter([b""] * 8))
            answers = asyncio.ensure_future(_read_all(call))
            await until(lambda: work.messages.used == 8)
            assert slots.used == parsed == 2  # half of them, for one caller
            go_on.set()
            assert len(await answers) == 8
        await server.stop(0)
        assert most == 2
        assert slots.used == 0

    run(main())


async def _read_all(call: Any) -> list[bytes]:
    return [answer async for answer in call]
