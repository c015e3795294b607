"""The rows of one file's blocks while it is imported: in memory if they are few, or else on disk.

A tree of 4 million leaves takes 20 MB of memory here: its nodes are written as they come, and its rows are
put into heaps by their first byte, each of which is then written in order.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from fastmarket.content.database import ContentDatabase
from fastmarket.content.index import DIGEST_BYTES, NODE_BITS, BlockIndex, BlockRow, node_place
from fastmarket.errors import CallerFault, StorageFault

MAX_ROWS = 32_768  # in memory: 8 GiB of a file in leaves of 256 KiB; 6 MB
MAX_NODE_BYTES = 4 << 20  # in memory
HEAPS = 256  # by the first byte of the digest: of 4 million rows, each has 16,000
HEAP_BYTES = 16 * 1024  # of each in memory
_PLACE_BYTES = 8
_ROW_BYTES = DIGEST_BYTES + _PLACE_BYTES


class TreeRows:
    """What is to be written of one file. `owner`: its number."""

    def __init__(self, owner: int, index: BlockIndex, database: ContentDatabase, scratch: Path) -> None:
        """`scratch`: a directory that does not exist, for rows that are many."""
        self.owner = owner
        self._index = index
        self._database = database
        self._scratch = scratch
        self._rows: list[BlockRow] = []
        self._nodes: list[bytes] = []
        self._node_bytes = 0
        self._nodes_before = 0  # written
        self._leaves = 0
        self._heaps: list[bytearray] | None = None

    @property
    def blocks(self) -> int:
        """How many there are."""
        return self._leaves + self._nodes_before + len(self._nodes)

    def add_leaves(self, digests: bytes) -> None:
        """Takes the next leaves, 32 bytes each. Raises StorageFault."""
        first, owner = self._leaves, self.owner
        self._leaves += len(digests) // DIGEST_BYTES
        self._rows += [
            (digests[at : at + DIGEST_BYTES], owner, first + at // DIGEST_BYTES)
            for at in range(0, len(digests), DIGEST_BYTES)
        ]
        if len(self._rows) > MAX_ROWS:
            self._spill_rows()

    def add_node(self, cid: bytes, block: bytes) -> None:
        """Takes the next node. Raises StorageFault, and CallerFault if there are too many."""
        number = self._nodes_before + len(self._nodes)
        if number >> NODE_BITS:
            raise CallerFault("profile", f"makes more than {1 << NODE_BITS} nodes of one file")
        self._nodes.append(block)
        self._node_bytes += len(block)
        self._rows.append((cid[-DIGEST_BYTES:], self.owner, node_place(number)))
        if self._node_bytes > MAX_NODE_BYTES:
            with self._database.writing() as connection:
                self._write_nodes(connection)

    def settle(self, on_step: Callable[[], None]) -> None:
        """Writes what is on disk so far; the rest is for `write`. Nothing is found before the file is.

        `on_step` is called now and then; an exception from it ends the work.
        """
        if self._heaps is None:
            return
        self._spill_rows()
        with self._database.writing() as connection:
            # First of all: by them `BlockIndex.purge` finds the rows if this ends here.
            self._write_nodes(connection)
        for number in range(HEAPS):
            on_step()
            rows = list(self._heap(number))
            with self._database.writing() as connection:
                self._index.put_rows(connection, rows)
        self.discard()

    def write(self, connection: sqlite3.Connection) -> None:
        """Writes what is in memory."""
        self._write_nodes(connection)
        self._index.put_rows(connection, self._rows)
        self._rows = []

    def discard(self) -> None:
        """Deletes the heaps."""
        self._heaps = None
        with suppress(FileNotFoundError):
            shutil.rmtree(self._scratch)

    def _write_nodes(self, connection: sqlite3.Connection) -> None:
        self._index.put_nodes(connection, self.owner, self._nodes_before, self._nodes)
        self._nodes_before += len(self._nodes)
        self._nodes, self._node_bytes = [], 0

    def _spill_rows(self) -> None:
        try:
            if self._heaps is None:
                self.discard()
                self._scratch.mkdir(mode=0o700)
                self._heaps = [bytearray() for _ in range(HEAPS)]
            heaps = self._heaps
            # Once for each digest, of which a file may be full.
            for digest, place in {row[0]: row[2] for row in self._rows}.items():
                heap = heaps[digest[0]]
                heap += digest
                heap += place.to_bytes(_PLACE_BYTES, "big", signed=True)
            self._rows = []
            for number, heap in enumerate(heaps):
                if len(heap) > HEAP_BYTES:
                    self._append(number, heap)
        except OSError as error:
            raise StorageFault(f"cannot write to {self._scratch.name}: {error.strerror}") from None

    def _append(self, number: int, heap: bytearray) -> None:
        with open(self._scratch / str(number), "ab") as file:
            file.write(heap)
        heap.clear()

    def _heap(self, number: int) -> Iterator[BlockRow]:
        """The rows of a heap, on disk and in memory."""
        assert self._heaps is not None
        with suppress(FileNotFoundError):
            data = (self._scratch / str(number)).read_bytes()
            yield from self._rows_of(data)
        yield from self._rows_of(bytes(self._heaps[number]))

    def _rows_of(self, data: bytes) -> Iterator[BlockRow]:
        for at in range(0, len(data), _ROW_BYTES):
            digest, place = data[at : at + DIGEST_BYTES], data[at + DIGEST_BYTES : at + _ROW_BYTES]
            yield digest, self.owner, int.from_bytes(place, "big", signed=True)
