"""Makes gRPC methods from coroutines and generators over messages: parses requests and maps faults to
statuses.

Each method parses its own request: gRPC would report malformed bytes as INTERNAL, a fault of ours. Messages
on streams are parsed only when their turn comes, however much a caller sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, CallerFault, FastmarketError, NodeFault, PeerFault, StorageFault
from fastmarket.formats.varint import decode_protobuf_varint
from fastmarket.market.access import AccessScope
from fastmarket.market.grpc_errors import Status, status_of
from fastmarket.market.sharing import CALLER, LoopTurns, Share, Slots

log = logging.getLogger(__name__)

INTERNAL = Status(grpc.StatusCode.INTERNAL, "internal error; see the node's log")
# The cost of a message within a turn of the event loop, in units of a search answered at once (30 us): the
# lookup it may start, plus its length at COST_BYTES parsed per unit.
MESSAGE_COST = 4
COST_BYTES = 4096
# Wire types (protobuf.dev, "Message structure"), and how many bytes a value of the others takes.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
_LONG = 0x80  # a byte from which on another one belongs to the same varint
_SHORT_TAGS = frozenset(range(_LENGTH_DELIMITED, _LONG, 8))  # of one byte, with a length after it

# Entries of a large answer made in one piece, some 8 us each, and its cost in the same units.
MADE_A_PIECE = 64
MADE_COST = 16

Request = TypeVar("Request", bound=Message)
Item = TypeVar("Item")
Made = TypeVar("Made")
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Respond: TypeAlias = Callable[[Request, float | None], Awaitable[Message | bytes]]
RespondMany: TypeAlias = Callable[
    [Request, float | None], AsyncGenerator[Message, None] | AsyncGenerator[Message | bytes, None]
]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of a service's table: the scope a token needs to call it, and its handler."""

    scope: AccessScope
    handler: Handler


class Work:
    """Limits shared by all streams of all callers."""

    def __init__(self, config: MarketConfig) -> None:
        self.messages = Slots(config.max_messages_at_once)
        self.searches = Slots(config.max_searches_at_once)
        self.registrations = Slots(config.max_bulk_registrations)
        self.turns = LoopTurns(config.searches_a_turn)
        self.waiting_bytes = Share(config.max_waiting_bytes)
        self.answer_bytes = Share(config.max_answer_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that wait for their turn, and of answers that wait for their reader."""
        return self.waiting_bytes.used + self.answer_bytes.used

    async def made(self, make: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """The entries of an answer; those of a large one piece by piece, each when it is the caller's
        turn."""
        if len(items) <= MADE_A_PIECE:
            return [make(item) for item in items]
        made: list[Made] = []
        for at in range(0, len(items), MADE_A_PIECE):
            await self.turns.take(CALLER.get(), MADE_COST)
            made += map(make, items[at : at + MADE_A_PIECE])
        return made


class Calls:
    """Makes the handlers of a server's methods."""

    def __init__(self, work: Work, config: MarketConfig) -> None:
        self._work = work
        self._small = config.max_small_request_bytes

    def unary(self, request_type: type[Request], respond: Respond[Request]) -> Handler:
        """One message in, one out. `respond` gets the caller's remaining seconds, or None without a
        deadline."""

        async def handle(raw: bytes, context: Context) -> bytes:
            try:
                request = read(request_type, raw, self._small)
                return _written(await respond(request, context.time_remaining()))
            except Exception as error:  # noqa: BLE001 - the top of a task
                return await _abort(error, request_type, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def prompt(
        self,
        request_type: type[Request],
        ready: Callable[[bytes], bytes | None],
        respond: Callable[[bytes, Request, float | None], Awaitable[bytes]],
    ) -> Handler:
        """Like `unary`, but if `ready` has an encoded answer for the raw request, that is returned."""

        async def handle(raw: bytes, context: Context) -> bytes:
            answer = ready(raw)
            if answer is not None:
                return answer
            try:
                return await respond(raw, read(request_type, raw, self._small), context.time_remaining())
            except Exception as error:  # noqa: BLE001 - the top of a task
                return await _abort(error, request_type, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(self, request_type: type[Request], respond: RespondMany[Request]) -> Handler:
        """One message in, many out; cancelling the call closes the generator."""

        async def handle(raw: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                request = read(request_type, raw, self._small)
                async with aclosing(respond(request, context.time_remaining())) as answers:
                    async for answer in answers:
                        yield _written(answer)
            except Exception as error:  # noqa: BLE001
                await _abort(error, request_type, context)

        return grpc.unary_stream_rpc_method_handler(handle)

    def each(
        self,
        request_type: type[Request],
        respond: Respond[Request],
        at_once: int,
        max_bytes: int,
        max_fields: int,
        *,
        in_order: bool = True,
        slots: Slots | None = None,
    ) -> Handler:
        """Many messages in, one answer for each, in their order or as soon as each is ready.

        A message has at most `max_bytes` and `max_fields`. At most `at_once` are processed concurrently; the
        next is read when one of those has been answered, and waits for a slot among those of all callers.
        `slots`: of those that are parsed, for a method whose messages take many times as much then.
        """

        async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async def parsed(raw: bytes) -> bytes:
                await self._work.turns.take(CALLER.get(), MESSAGE_COST + len(raw) // COST_BYTES)
                check_fields(raw, max_fields)
                return _written(await respond(read(request_type, raw, max_bytes), context.time_remaining()))

            async def answer(raw: bytes) -> bytes:
                if slots is None:
                    return await parsed(raw)
                async with slots.slot(CALLER.get()):
                    return await parsed(raw)

            try:
                async with aclosing(
                    CallStream(requests, answer, self._work, in_order).answers(at_once)
                ) as answers:
                    async for done in answers:
                        yield done
            except Exception as error:  # noqa: BLE001
                await _abort(error, request_type, context)

        return grpc.stream_stream_rpc_method_handler(handle)


class CallStream:
    """The messages of one call on their way to answers."""

    def __init__(
        self,
        requests: AsyncIterator[bytes],
        answer: Callable[[bytes], Coroutine[Any, Any, bytes]],
        work: Work,
        in_order: bool,
    ) -> None:
        self._requests = requests
        self._answer = answer
        self._work = work
        self._in_order = in_order
        self._caller = CALLER.get()
        self._slots = 0
        self._held = 0  # bytes of answers that wait for their reader

    async def answers(self, at_once: int) -> AsyncGenerator[bytes, None]:
        """Ends after the last answer; a message holds its slot until its answer is taken from here."""
        working: list[asyncio.Task[bytes]] = []
        coming: asyncio.Task[bytes | None] | None = asyncio.ensure_future(self._next())
        try:
            while coming is not None or working:
                due = working[:1] if self._in_order else tuple(working)
                reading = coming if len(working) < at_once else None
                waited = (*due, reading) if reading is not None else due
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                for task in due:
                    if task.done():
                        working.remove(task)
                        answer = task.result()
                        yield answer
                        self._give_back(len(answer))
                if reading is not None and reading.done():
                    raw = reading.result()
                    coming = None if raw is None else asyncio.ensure_future(self._next())
                    if raw is not None:
                        working.append(asyncio.ensure_future(self._answered(raw)))
        finally:
            try:
                await _end(*working, *([] if coming is None else [coming]))
            finally:  # the call may be cancelled while it ends
                for _ in range(self._slots):
                    self._work.messages.release(self._caller)
                self._work.answer_bytes.release(self._caller, self._held)

    async def _answered(self, raw: bytes) -> bytes:
        """The answer, which counts as held until its reader takes it. Raises `Busy`."""
        answer = await self._answer(raw)
        if not self._work.answer_bytes.take(self._caller, len(answer)):
            raise Busy("answers", "too many bytes wait to be read already")
        self._held += len(answer)
        return answer

    def _give_back(self, size: int) -> None:
        """An answer was taken, and its message's slot is free."""
        self._slots -= 1
        self._work.messages.release(self._caller)
        self._held -= size
        self._work.answer_bytes.release(self._caller, size)

    async def _next(self) -> bytes | None:
        """The next message, with a slot; None after the last one. Raises `Busy`."""
        raw = await anext(self._requests, None)
        if raw is None:
            return None
        waiting = self._work.waiting_bytes
        if not waiting.take(self._caller, len(raw)):
            raise Busy("requests", "too many bytes are waiting already")
        try:
            await self._work.messages.take(self._caller)
            self._slots += 1
        finally:
            waiting.release(self._caller, len(raw))
        return raw


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the call's tasks and waits for them to end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _abort(error: Exception, request_type: type[Message], context: Context) -> bytes:
    """Aborts the call with the status of `error`; a bug costs one call and is logged."""
    if isinstance(error, FastmarketError) and (
        isinstance(error, StorageFault) or not isinstance(error, NodeFault)
    ):
        status = status_of(error)  # the journal has logged a full disk
    elif isinstance(error, grpc.aio.AbortError):
        raise error
    else:
        log.error("%s failed", request_type.DESCRIPTOR.full_name, exc_info=error)
        status = INTERNAL
    # Its frames hold the message and what was made of it, and the call holds the error: a cycle.
    error.__traceback__ = error.__context__ = error.__cause__ = None
    await context.abort(status.code, status.details, status.metadata)
    raise AssertionError("abort raises")


def _written(answer: Message | bytes) -> bytes:
    """The encoded answer; some are encoded already."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def check_fields(raw: bytes, most: int) -> None:
    """Counts the fields of an unparsed message: two bytes may be a field that takes a hundred in memory.

    Raises `CallerFault`. Malformed messages are left to the parser.
    """
    at, count, size = 0, 0, len(raw)
    if size <= most:
        return
    try:
        while at < size:
            count += 1
            if count > most:
                raise CallerFault("request", f"more than {most} fields")
            if raw[at] in _SHORT_TAGS and at + 1 < size and raw[at + 1] < _LONG:  # nearly all of them
                at += 2 + raw[at + 1]
                continue
            tag, at = decode_protobuf_varint(raw, at)
            kind = tag & 7
            if kind in _FIXED_BYTES:
                at += _FIXED_BYTES[kind]
            elif kind in (_VARINT, _LENGTH_DELIMITED):
                value, at = decode_protobuf_varint(raw, at)
                at += value if kind == _LENGTH_DELIMITED else 0
    except PeerFault:
        return


def read(request_type: type[Request], raw: bytes, max_bytes: int) -> Request:
    """Parses `raw`. Raises `CallerFault`."""
    if len(raw) > max_bytes:
        raise CallerFault("request", f"{len(raw)} bytes; this method accepts at most {max_bytes}")
    try:
        return request_type.FromString(raw)
    except DecodeError as error:
        raise CallerFault("request", f"not a {request_type.DESCRIPTOR.full_name} ({error})") from None
