"""gRPC methods out of coroutines and generators over messages: how a call is read, and how its faults end it.

Each method reads its own request: gRPC would call bytes that are none INTERNAL, a fault of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from fastmarket.errors import CallerFault, FastmarketError, NodeFault, StorageFault
from fastmarket.market.grpc_errors import Status, status_of

log = logging.getLogger(__name__)

INTERNAL = Status(grpc.StatusCode.INTERNAL, "internal error; the node's log tells more")

Request = TypeVar("Request", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Method: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Respond: TypeAlias = Callable[[Request, float | None], Awaitable[Message | bytes]]
RespondMany: TypeAlias = Callable[[Request, float | None], AsyncGenerator[Message, None]]


def unary(request_type: type[Request], respond: Respond[Request]) -> Method:
    """One message in, one out. `respond` gets the seconds the caller has left, None without a deadline."""

    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return _written(await respond(read(request_type, raw), context.time_remaining()))
        except Exception as error:  # noqa: BLE001 - the top of a task
            return await _abort(error, request_type, context)

    return grpc.unary_unary_rpc_method_handler(handle)


def prompt(
    request_type: type[Message],
    ready: Callable[[bytes], bytes | None],
    respond: Callable[[bytes, float | None], Awaitable[bytes]],
) -> Method:
    """As `unary`, over encoded messages, and what `ready` has an answer for is answered by that."""

    async def handle(raw: bytes, context: Context) -> bytes:
        answer = ready(raw)
        if answer is not None:
            return answer
        try:
            return await respond(raw, context.time_remaining())
        except Exception as error:  # noqa: BLE001 - the top of a task
            return await _abort(error, request_type, context)

    return grpc.unary_unary_rpc_method_handler(handle)


def streaming(request_type: type[Request], respond: RespondMany[Request]) -> Method:
    """One message in, many out; a caller that leaves closes the generator."""

    async def handle(raw: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            request = read(request_type, raw)
            async with aclosing(respond(request, context.time_remaining())) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
        except Exception as error:  # noqa: BLE001
            await _abort(error, request_type, context)

    return grpc.unary_stream_rpc_method_handler(handle)


def each(
    request_type: type[Request], respond: Respond[Request], at_once: int, *, in_order: bool = True
) -> Method:
    """Many messages in, one out for each: in their order, or as each is there.

    `at_once` of them are worked on; the next is read when one of those was answered.
    """

    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def answer(raw: bytes) -> bytes:
            return _written(await respond(read(request_type, raw), context.time_remaining()))

        try:
            async with aclosing(_answers(requests, answer, at_once, in_order)) as answers:
                async for done in answers:
                    yield done
        except Exception as error:  # noqa: BLE001
            await _abort(error, request_type, context)

    return grpc.stream_stream_rpc_method_handler(handle)


async def _answers(
    requests: AsyncIterator[bytes],
    answer: Callable[[bytes], Coroutine[Any, Any, bytes]],
    at_once: int,
    in_order: bool,
) -> AsyncGenerator[bytes, None]:
    working: list[asyncio.Task[bytes]] = []
    coming: asyncio.Task[bytes | None] | None = asyncio.ensure_future(_next(requests))
    try:
        while coming is not None or working:
            due = working[:1] if in_order else tuple(working)
            reading = coming if len(working) < at_once else None
            waited = (*due, reading) if reading is not None else due
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in due:
                if task.done():
                    working.remove(task)
                    yield task.result()
            if reading is not None and reading.done():
                raw = reading.result()
                coming = None if raw is None else asyncio.ensure_future(_next(requests))
                if raw is not None:
                    working.append(asyncio.ensure_future(answer(raw)))
    finally:
        await _end(*working, *([] if coming is None else [coming]))


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    """None: the caller has sent all."""
    return await anext(requests, None)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Nothing of a call goes on without it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _abort(error: Exception, request_type: type[Message], context: Context) -> bytes:
    """Whatever a bug raises costs one call and is told in the log."""
    if isinstance(error, FastmarketError) and (
        isinstance(error, StorageFault) or not isinstance(error, NodeFault)
    ):
        status = status_of(error)  # a full disk was told by the journal
    elif isinstance(error, grpc.aio.AbortError):
        raise error
    else:
        log.error("%s failed", request_type.DESCRIPTOR.full_name, exc_info=error)
        status = INTERNAL
    await context.abort(status.code, status.details, status.metadata)
    raise AssertionError("abort raises")


def _written(answer: Message | bytes) -> bytes:
    """Some are encoded already."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def read(request_type: type[Request], raw: bytes) -> Request:
    """The message in `raw`. Raises `CallerFault`."""
    try:
        return request_type.FromString(raw)
    except DecodeError as error:
        raise CallerFault("request", f"not a {request_type.DESCRIPTOR.full_name} ({error})") from None
