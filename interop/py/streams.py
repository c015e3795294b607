"""Reading and writing of streams, and the protocols that are only for tests."""

from __future__ import annotations

from hashlib import sha256

import trio
from libp2p.abc import INetStream
from libp2p.network.stream.exceptions import StreamEOF, StreamReset

BLOCK = bytes(i % 251 for i in range(65_536))  # 251: no power of two divides the pattern
RAW_LIMIT = 1 << 20


async def read_some(stream: INetStream) -> bytes:
    """What there is, `b""` at the end. Raises StreamReset."""
    try:
        return await stream.read()  # with a size it takes a reset for the end
    except StreamEOF:
        return b""


async def serve_echo(stream: INetStream) -> None:
    """Sends back what comes, as it comes: reads nothing while the other side takes nothing."""
    while data := await read_some(stream):
        await stream.write(data)
    await stream.close()


async def serve_reset(stream: INetStream) -> None:
    if await read_some(stream):
        await stream.reset()


async def echo(stream: INetStream, size: int, delay_s: float) -> tuple[int, bool]:
    """Echoes `size` bytes, reading nothing for the first `delay_s`: (bytes that came back, all the same)."""
    sent, back = sha256(), sha256()
    count = 0

    async def write() -> None:
        for start in range(0, size, len(BLOCK)):
            block = BLOCK[: size - start]
            sent.update(block)
            await stream.write(block)
        await stream.close_write()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.sleep(delay_s)
        while data := await read_some(stream):
            count += len(data)
            back.update(data)
    await stream.close()
    return count, sent.digest() == back.digest()


async def expect_reset(stream: INetStream) -> None:
    """Returns when the other side resets the stream."""
    await stream.write(b"\x01")
    try:
        while await read_some(stream):
            pass
    except StreamReset:
        return
    raise RuntimeError("the stream was closed, not reset")


async def exchange(stream: INetStream, data: bytes, half_close: bool) -> bytes:
    """Writes, then reads to the end."""
    if data:
        await stream.write(data)
    if half_close:
        await stream.close_write()
    received = bytearray()
    while chunk := await read_some(stream):
        received += chunk
        if len(received) > RAW_LIMIT:
            await stream.reset()
            raise RuntimeError(f"more than {RAW_LIMIT} bytes came")
    await stream.close()
    return bytes(received)
