"""gRPC methods out of coroutines and generators over messages: how a call is read, and how its faults end it.

Each method reads its own request: gRPC would call bytes that are none INTERNAL, a fault of ours.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias, TypeVar

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
Respond: TypeAlias = Callable[[Request, float | None], Awaitable[Message]]
RespondMany: TypeAlias = Callable[[Request, float | None], AsyncGenerator[Message, None]]


def unary(request_type: type[Request], respond: Respond[Request]) -> Method:
    """One message in, one out. `respond` gets the seconds the caller has left, None without a deadline."""

    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return (await respond(_read(request_type, raw), context.time_remaining())).SerializeToString()
        except Exception as error:  # noqa: BLE001 - the top of a task
            return await _abort(error, request_type, context)

    return grpc.unary_unary_rpc_method_handler(handle)


def streaming(request_type: type[Request], respond: RespondMany[Request]) -> Method:
    """One message in, many out; a caller that leaves closes the generator."""

    async def handle(raw: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            request = _read(request_type, raw)
            async with aclosing(respond(request, context.time_remaining())) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
        except Exception as error:  # noqa: BLE001
            await _abort(error, request_type, context)

    return grpc.unary_stream_rpc_method_handler(handle)


def each(request_type: type[Request], respond: Respond[Request]) -> Method:
    """Many messages in, one out for each: the next is read when the one before was answered."""

    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for raw in requests:
                answer = await respond(_read(request_type, raw), context.time_remaining())
                yield answer.SerializeToString()
        except Exception as error:  # noqa: BLE001
            await _abort(error, request_type, context)

    return grpc.stream_stream_rpc_method_handler(handle)


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


def _read(request_type: type[Request], raw: bytes) -> Request:
    try:
        return request_type.FromString(raw)
    except DecodeError as error:
        raise CallerFault("request", f"not a {request_type.DESCRIPTOR.full_name} ({error})") from None
