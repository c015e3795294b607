"""Callers that do not read their answers, or go away: their calls end, and give back all that they held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty

from fastmarket.config import MarketConfig
from fastmarket.market.access import AccessScope
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Calls, Method, Work
from fastmarket.market.guard import CallTimer, Registry
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, until

ANSWER = bytes(64 * 1024)
MESSAGES = 128  # 5 bytes each: they fit into a window of HTTP/2, and their answers into none
UNREAD_S = 1.0
LONG_S = 3600.0


class Service:
    """Two methods whose answers do not end, or are large; notes which of their generators are open."""

    def __init__(self, unread_s: float) -> None:
        config = MarketConfig()
        self.work = Work(config)
        self.bounds = Bounds(8, 8, 8)
        self.open = self.answered = 0
        calls = Calls(self.work, config)
        self.methods = {
            "Endless": Method(AccessScope.READ, calls.streaming(Empty, self._endless)),
            "Each": Method(AccessScope.READ, calls.each(Empty, self._each, 4, 100, 100)),
            "Waiting": Method(AccessScope.READ, calls.streaming(Empty, self._waiting)),
        }
        self.timer = CallTimer(self.bounds, LONG_S, unread_s)

    async def _endless(self, _: Empty, deadline_s: float | None) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            while True:
                yield ANSWER
        finally:
            self.open -= 1

    async def _waiting(self, _: Empty, deadline_s: float | None) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            yield b""
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def _each(self, _: Empty, deadline_s: float | None) -> bytes:
        self.answered += 1
        return ANSWER

    @property
    def is_free(self) -> bool:
        """Whether nothing is held for any call."""
        return not (self.open or self.bounds.used or self.work.messages.used or self.work.held_bytes)


@asynccontextmanager
async def served(unread_s: float = UNREAD_S) -> AsyncIterator[tuple[Service, grpc.aio.Channel]]:
    service = Service(unread_s)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0)])
    Registry(server, service.timer).add("test.Unread", service.methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service, channel
    finally:
        await server.stop(0)


async def begun(channel: grpc.aio.Channel, method: str) -> Any:
    """A call of which no answer has been read. Its messages have been written: if a call ends while one waits
    to be written, gRPC's client reports INTERNAL instead of the server's status."""
    path = f"/test.Unread/{method}"
    if method != "Each":
        return channel.unary_stream(path)(b"")
    call = channel.stream_stream(path)()
    for _ in range(MESSAGES):
        await call.write(b"")
    return call


async def read_all(call: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        async for _ in call:
            pass


@pytest.mark.parametrize("method", ["Endless", "Each"])
def test_a_call_whose_answers_are_not_read_is_aborted_and_leaves_nothing(run: Run[None], method: str) -> None:
    async def main() -> None:
        async with served() as (service, channel):
            call = await begun(channel, method)
            await until(lambda: bool(service.open or service.answered))
            await until(lambda: service.is_free)
            # What fitted into the windows is read; then comes the status.
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read_all(call)
            assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)

    run(main())


def test_unread_answers_are_held_up_to_a_bound_while_others_are_answered(run: Run[None]) -> None:
    """The call takes no more messages than it may have answers waiting."""

    async def main() -> None:
        async with served(LONG_S) as (service, channel):
            call = await begun(channel, "Each")
            before = -1
            while before != service.answered:  # until nothing more is taken
                before = service.answered
                other = channel.unary_stream("/test.Unread/Waiting")(b"")
                assert await other.read() == b""
                other.cancel()
                await until(lambda: not service.open)
            assert service.work.answer_bytes.used <= 5 * len(ANSWER)
            assert service.work.messages.used <= 5
            call.cancel()
            await until(lambda: service.is_free)

    run(main())


@pytest.mark.parametrize("method", ["Endless", "Each", "Waiting"])
def test_a_call_that_is_cancelled_closes_its_generator_at_once(run: Run[None], method: str) -> None:
    async def main() -> None:
        async with served(LONG_S) as (service, channel):
            call = await begun(channel, method)
            await call.read()
            await until(lambda: bool(service.open or service.answered))
            assert not service.is_free
            call.cancel()
            await until(lambda: service.is_free)

    run(main())
