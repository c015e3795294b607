"""Reading and writing of streams, and the protocols that are only for tests."""

from __future__ import annotations

import asyncio
import hashlib

from fastmarket.errors import StreamFailed
from fastmarket.net.streams import Stream

ECHO = "/fastmarket/interop/echo/1.0.0"
RESET = "/fastmarket/interop/reset/1.0.0"
BLOCK = bytes(i % 251 for i in range(65_536))  # 251: no power of two divides the pattern
RAW_LIMIT = 1 << 20


async def serve_echo(stream: Stream) -> None:
    """Sends back what comes, as it comes: reads nothing while the other side takes nothing."""
    while data := await stream.read():
        await stream.write(data)
    stream.close_write()


async def serve_reset(stream: Stream) -> None:
    """The table resets what its handler leaves open."""
    await stream.read(1)


async def echo(stream: Stream, size: int, delay_s: float = 0.0) -> tuple[int, bool]:
    """Echoes `size` bytes, reading nothing for the first `delay_s`: (bytes that came back, all the same)."""
    sent, back = hashlib.sha256(), hashlib.sha256()
    count = 0

    async def write() -> None:
        for start in range(0, size, len(BLOCK)):
            block = BLOCK[: size - start]
            sent.update(block)
            await stream.write(block)
        stream.close_write()

    async with asyncio.TaskGroup() as both:
        both.create_task(write())
        await asyncio.sleep(delay_s)
        while data := await stream.read():
            count += len(data)
            back.update(data)
    return count, sent.digest() == back.digest()


async def expect_reset(stream: Stream) -> None:
    """Returns when the other side resets the stream."""
    try:
        await stream.write(b"\x01")
        await stream.read()
    except StreamFailed:
        return
    raise RuntimeError("the stream was closed, not reset")


async def exchange(stream: Stream, data: bytes, half_close: bool) -> bytes:
    """Writes, then reads to the end."""
    await stream.write(data)
    if half_close:
        stream.close_write()
    received = bytearray()
    while chunk := await stream.read():
        received += chunk
        if len(received) > RAW_LIMIT:
            stream.reset()
            raise RuntimeError(f"more than {RAW_LIMIT} bytes came")
    return bytes(received)
