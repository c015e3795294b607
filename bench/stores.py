"""A store of a given number of blocks, as a process that serves it over HTTP: `python -m bench.stores`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from fastmarket.config import ContentConfig
from fastmarket.content.port.server import ContentServer
from fastmarket.formats.cid import Cid, Codec
from tests.content.shop import shop
from tests.content.test_many import LEAVES_A_PART, SEED, resident_bytes, sold_by_index


def leaves_of(count: int) -> list[str]:
    """CIDs of a part of the leaves that `make` sells."""
    random = Random(SEED)
    parts = (random.randbytes(32 * LEAVES_A_PART) for _ in range(count // LEAVES_A_PART))
    return [str(Cid(0, Codec.DAG_PB, b"\x12\x20" + part[:32])) for part in parts]


def absent(count: int) -> list[str]:
    """CIDs of blocks that nobody has."""
    return [str(Cid(0, Codec.DAG_PB, b"\x12\x20" + os.urandom(32))) for _ in range(count)]


def make(directory: Path, count: int) -> None:
    """A sparse file with an index of `count` random digests, made by the steps of an import."""

    async def main() -> None:
        with shop(directory) as store:
            path = store.files / "file"
            path.touch()
            sold_by_index(store, path, count)

    asyncio.run(main())


async def serve(directory: Path) -> None:
    """Prints the port; then, for each line that it reads, its resident bytes; ends with its input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with shop(directory) as store:
        server = ContentServer(store.catalogue, ContentConfig(port=0))
        print(await server.start(), flush=True)
        while await reader.readline():
            print(resident_bytes(), flush=True)
        await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
