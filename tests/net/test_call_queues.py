"""Calls of a method that streams wait in a queue of their own: a flood of one delays no call of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty

from fastmarket.market.access import AccessScope
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Method
from fastmarket.market.guard import CallTimer, Registry
from tests.conftest import Run

CODING = (Empty.FromString, Empty.SerializeToString)
MANY = 400  # calls of the method that is flooded


def test_many_new_calls_of_one_method_delay_no_call_of_another(run: Run[None]) -> None:
    """They are all sent before it, over the same connection; in one queue it would be taken up last."""

    async def scene() -> None:
        taken, over = 0, asyncio.Event()

        async def flooded(_: Empty, context: grpc.aio.ServicerContext[Empty, Empty]) -> AsyncIterator[Empty]:
            nonlocal taken
            taken += 1
            await over.wait()
            yield Empty()

        async def light(_: Empty, context: grpc.aio.ServicerContext[Empty, Empty]) -> Empty:
            return Empty()

        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        bounds = Bounds(2 * MANY, 2 * MANY, 2 * MANY)
        handlers = {
            "Flooded": Method(AccessScope.READ, grpc.unary_stream_rpc_method_handler(flooded, *CODING)),
            "Light": Method(AccessScope.READ, grpc.unary_unary_rpc_method_handler(light, *CODING)),
        }
        Registry(server, CallTimer(bounds, 30.0, 30.0)).add("test.Queues", handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()
            flood = [channel.unary_stream("/test.Queues/Flooded")(b"") for _ in range(MANY)]
            await channel.unary_unary("/test.Queues/Light")(b"")
            taken_before = taken
            over.set()
            await asyncio.gather(*(call.read() for call in flood))
        await server.stop(0)
        assert taken == MANY
        assert taken_before < MANY // 2

    run(scene())
