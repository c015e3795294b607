"""What is wrapped around every call, where a real caller cannot be made to act at the moment that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.market.access import AccessScope
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Method
from fastmarket.market.guard import CallTimer


class GoneContext:
    """A call whose caller has cancelled it while an answer was on its way: core says so in its own words."""

    def peer(self) -> str:
        return "ipv4:127.0.0.1:4000"

    async def read(self) -> bytes:
        return b""

    async def write(self, answer: bytes) -> None:
        raise grpc.aio.InternalError("send_message")


def test_an_answer_that_meets_the_end_of_its_call_is_a_cancelled_call_and_ends_the_handler() -> None:
    is_closed = False

    async def answers(request: bytes, context: object) -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            while True:
                yield b"answer"
        finally:
            is_closed = True

    handler: Any = grpc.unary_stream_rpc_method_handler(answers)
    timer = CallTimer(Bounds(1, None, 1), 1.0, 1.0)
    wrapped: Any = timer.over(Method(AccessScope.READ, handler), "/market.Market/Some")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(wrapped.stream_stream(None, GoneContext()))
    assert is_closed
