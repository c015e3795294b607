"""A refused call leaves nothing of its message behind, even while the cycle collector does not run."""

from __future__ import annotations

import gc
import weakref

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy
from fastmarket.market.access import AccessScope
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Calls, Method, Work
from fastmarket.market.guard import CallTimer, Registry
from tests.conftest import Run


class Made:
    """What was made of a message."""


def test_what_was_made_of_a_refused_message_is_freed_at_once(run: Run[None]) -> None:
    made: list[weakref.ref[Made]] = []

    async def refuse(_: Empty, deadline_s: float | None) -> Empty:
        held = Made()
        made.append(weakref.ref(held))
        raise Busy("offers", "full")

    async def scene() -> None:
        config = MarketConfig()
        calls = Calls(Work(config), config)
        methods = {
            "One": Method(AccessScope.READ, calls.unary(Empty, refuse)),
            "Each": Method(AccessScope.READ, calls.each(Empty, refuse, 4, 100, 100)),
        }
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        Registry(server, CallTimer(Bounds(8, 8, 8), 30.0, 30.0)).add("test.Refused", methods)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary("/test.Refused/One")(b"")
                with pytest.raises(grpc.aio.AioRpcError):
                    async for _ in channel.stream_stream("/test.Refused/Each")(iter([b""])):
                        pass
            left = [ref for ref in made if ref() is not None]
        await server.stop(0)
        assert len(made) == 6
        assert len(left) <= 1, "beside that of the last call, which may not have ended here"

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()
