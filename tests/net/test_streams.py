"""Streams for programs over real sockets: order, windows, half-close, reset."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import weakref

import pytest

from fastmarket.errors import StreamFailed
from fastmarket.net.streams import Stream
from tests.conftest import Run
from tests.net.loopback import nodes, seed, until

ECHO = "/test/echo/1.0.0"
RESET = "/test/reset/1.0.0"
MIB = 1024 * 1024


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)
    stream.close_write()


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def through(stream: Stream, data: bytes) -> bytes:
    reading = asyncio.ensure_future(read_all(stream))
    await stream.write(data)
    stream.close_write()
    return await reading


def test_sixteen_mebibytes_come_back(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            a.host.streams.serve(ECHO, echo)
            link = await b.host.connect(seed(a))
            data = hashlib.shake_128(b"16").digest(16 * MIB)
            assert await through(await b.host.streams.open(link, [ECHO]), data) == data

    run(scenario())


def test_a_hundred_streams_at_once_keep_apart(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            a.host.streams.serve(ECHO, echo)
            link = await b.host.connect(seed(a))

            async def one(number: int) -> None:
                data = hashlib.shake_128(b"%d" % number).digest(100_000)
                assert await through(await b.host.streams.open(link, [ECHO]), data) == data

            await asyncio.gather(*(one(number) for number in range(100)))
            await until(lambda: link.connection.stream_count == 0)

    run(scenario())


def test_a_reader_that_does_not_read_holds_its_writer_and_nobody_else(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            opened: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
            over = asyncio.Event()

            async def lazy(stream: Stream) -> None:
                opened.set_result(stream)
                await over.wait()

            a.host.streams.serve("/test/lazy/1.0.0", lazy)
            a.host.streams.serve(ECHO, echo)
            link = await b.host.connect(seed(a))
            slow = await b.host.streams.open(link, ["/test/lazy/1.0.0"])
            writing = asyncio.ensure_future(slow.write(bytes(4 * MIB)))
            stream = await opened
            # The honest stream beside it works while the other waits for its window.
            assert await through(await b.host.streams.open(link, [ECHO]), b"x" * MIB) == b"x" * MIB
            assert not writing.done()
            got = 0
            while got < 4 * MIB:
                got += len(await stream.read())
            await writing
            over.set()

    run(scenario())


def test_a_reset_reaches_reader_and_writer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):

            async def reset(stream: Stream) -> None:
                await stream.read(1)
                stream.reset()

            a.host.streams.serve(RESET, reset)
            link = await b.host.connect(seed(a))
            stream = await b.host.streams.open(link, [RESET])
            await stream.write(b"x")
            with pytest.raises(StreamFailed):
                await stream.read()
            with pytest.raises(StreamFailed):
                await stream.write(b"y")
            assert link.is_open

    run(scenario())


def test_a_protocol_nobody_has_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            with pytest.raises(StreamFailed):
                await b.host.streams.open(link, ["/test/none/1.0.0", "/test/neither/1.0.0"])
            a.host.streams.serve(ECHO, echo)
            second_choice = await b.host.streams.open(link, ["/test/none/1.0.0", ECHO])
            assert second_choice.protocol == ECHO

    run(scenario())


def test_the_end_of_a_connection_ends_its_streams(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            a.host.streams.serve(ECHO, echo)
            link = await b.host.connect(seed(a))
            stream = await b.host.streams.open(link, [ECHO])
            reading = asyncio.ensure_future(stream.read())
            await asyncio.sleep(0)
            link.abort()
            with pytest.raises(StreamFailed):
                await reading

    run(scenario())


@pytest.mark.parametrize("writes", [False, True])
def test_what_a_handler_held_goes_when_its_stream_is_reset(run: Run[None], writes: bool) -> None:
    """Without a run of the garbage collector: strangers reset streams as often as they like, in the middle of
    messages."""

    class Held:
        pass

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            begun = asyncio.Event()
            held: list[weakref.ref[Held]] = []

            async def handler(stream: Stream) -> None:
                message = Held()
                held.append(weakref.ref(message))
                begun.set()
                while await stream.read():
                    if writes:
                        await stream.write(bytes(MIB))

            a.host.streams.serve(ECHO, handler)
            link = await b.host.connect(seed(a))
            stream = await b.host.streams.open(link, [ECHO])
            await stream.write(b"a part of it")
            await begun.wait()
            gc.disable()
            try:
                stream.reset()
                await until(lambda: held[0]() is None)
            finally:
                gc.enable()

    run(scenario())
