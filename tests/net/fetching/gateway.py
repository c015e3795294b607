"""A small HTTP server for raw blocks: in the test's own loop, or as a process (`python gateway.py FILE`).

What it does with a request is up to a function, so that it can be slow, wrong or rude.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Given the text of a CID and where to write."""


class Gateway:
    """Serves in the running loop."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.port = 0
        self.asked: list[str] = []
        self.lines: list[str] = []
        self.connections = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def connected(self, count: int) -> None:
        """Waits for so many connections."""
        while self.connections < count:
            self._changed.clear()
            await self._changed.wait()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A new connection."""
        self.connections += 1
        self._changed.set()
        task = asyncio.ensure_future(self._handle(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0].decode()
            cid = line.split()[1].removeprefix("/ipfs/").partition("?")[0]
            self.lines.append(head.decode())
            self.asked.append(cid)
            await self._reply(cid, writer)
            await writer.drain()


@asynccontextmanager
async def serving(reply: Reply, **options: object) -> AsyncIterator[Gateway]:
    """A gateway on a free port of loopback; `options` as for `asyncio.start_server`."""
    gateway = Gateway(reply)
    server = await asyncio.start_server(gateway.accept, "127.0.0.1", 0, **options)
    gateway.port = server.sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        server.close()
        while gateway.tasks:
            for task in gateway.tasks:
                task.cancel()
            await asyncio.gather(*gateway.tasks, return_exceptions=True)


def head(status: str, *headers: str) -> bytes:
    """The head of a response."""
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", "")).encode()


def ok(block: bytes) -> bytes:
    """A whole response."""
    return head("200 OK", f"Content-Length: {len(block)}") + block


def of_blocks(blocks: Mapping[str, bytes]) -> Reply:
    """Serves blocks by the text of their CIDs, and 404 for others."""

    async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
        block = blocks.get(cid)
        writer.write(
            head("404 Not Found", "Content-Length: 9") + b"not here\n" if block is None else ok(block)
        )

    return reply


async def _main(blocks: Mapping[str, bytes]) -> None:
    async with serving(of_blocks(blocks)) as gateway:
        print(gateway.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(pickle.loads(Path(sys.argv[1]).read_bytes())))  # written by the test itself
