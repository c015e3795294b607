"""A process that floods a server with streams of one kind: `python -m tests.e2e.flood PORT METHOD`.

It writes a line for each answer it gets, as long as it lives.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

STREAMS = 120
SERVICE = "/fastmarket.v1.Market"


def _batch(stream: int) -> bytes:
    found = [v1.FindHoldersRequest(content=f"{stream} {n}") for n in range(1000)]
    return v1.FindHoldersBatchRequest(searches=found).SerializeToString()


def _files(stream: int) -> bytes:
    files = [v1.RegisterFileRequest(content=f"{stream} {n}", ip="192.0.2.1", port=1) for n in range(1000)]
    return v1.RegisterFilesRequest(files=files).SerializeToString()


def _find(stream: int) -> bytes:
    return v1.FindHoldersRequest(content=f"{stream}").SerializeToString()


def _watch(stream: int) -> bytes:
    return v1.WatchHoldersRequest(content=f"{stream}", interval_s=1.0).SerializeToString()


# By method: what one stream sends, and how many messages.
KINDS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "FindHolders": (_find, 1),
    "FindHoldersBatch": (_batch, 18),
    "RegisterFiles": (_files, 8),
    "WatchHolders": (_watch, 1),
}


async def _stream(channel: grpc.aio.Channel, method: str, stream: int) -> None:
    made, count = KINDS[method]
    raw = made(stream)

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield raw

    path = f"{SERVICE}/{method}"
    while True:
        call: Any = channel.unary_stream(path)(raw) if count == 1 else channel.stream_stream(path)(messages())
        try:
            async for _ in call:
                print("answer", flush=True)
        except grpc.aio.AioRpcError as error:
            print(error.code().name, flush=True)


async def main(target: str, method: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        await asyncio.gather(*(_stream(channel, method, stream) for stream in range(STREAMS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
