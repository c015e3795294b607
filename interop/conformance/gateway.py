"""The content port over the blocks of CAR files, which are no files that a node could sell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fastmarket.config import ContentConfig
from fastmarket.content.place import InlineBlock
from fastmarket.content.port.server import ContentServer
from fastmarket.formats.car import CarReader
from fastmarket.formats.cid import Cid


class CarBlocks:
    """A `BlockSource` of all blocks in some CARs."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._blocks: dict[bytes, bytes] = {}
        for file in files:
            reader = CarReader()
            for cid, block in reader.feed(file.read_bytes()):
                self._blocks[Cid.from_bytes(cid).multihash] = block
            reader.finish()

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, multihash: bytes) -> InlineBlock | None:
        block = self._blocks.get(multihash)
        return None if block is None else InlineBlock(block)

    def read(self, multihash: bytes) -> bytes | None:
        return self._blocks.get(multihash)

    def file_of(self, cid: Cid) -> None:
        """None is a file of its own."""


@asynccontextmanager
async def gateway(blocks: CarBlocks) -> AsyncIterator[str]:
    """A running content port; its URL."""
    server = ContentServer(blocks, ContentConfig())
    port = await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop()
