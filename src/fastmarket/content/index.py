"""The blocks that are sold: from a digest to its owner, a file or a directory, and its place in it.

On disk, a row of some 48 bytes for each block, ordered by digest, and the nodes above the leaves. In memory,
a filter of 10 bits for each block, so that a block that is not here costs no disk. The bytes of files are in
the files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress

from fastmarket.content.cells import MAX_OWNER
from fastmarket.content.database import ContentDatabase
from fastmarket.errors import PeerFault
from fastmarket.formats.dag_pb import decode_pb_node
from fastmarket.native.block_filter import BlockFilter
from fastmarket.native.sha256 import sha256

DIGEST_BYTES = 32
NODE_BITS = 24
"""Of a node's number among those of its owner; 16 million of 174 links stand for 700 TB."""
FIRST_CAPACITY = 1 << 16  # of the filter: 80 kB
ROWS_A_READ = 8192  # of all digests, at the start: half a MB
NODES_A_PURGE = 64  # in one transaction; with their links some 12,000 rows
_PUT_ROWS = "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?)"
_PUT_NODES = "INSERT OR REPLACE INTO nodes VALUES (?, ?)"
_DROP_ROWS = "DELETE FROM blocks WHERE digest = ? AND owner = ?"
_ROWS = "SELECT owner, place FROM blocks WHERE digest = ? LIMIT ?"
_NODES = "SELECT id, block FROM nodes WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
_DROPPED = "SELECT owner, digest FROM dropped LIMIT 1"

BlockRow = tuple[bytes, int, int]
"""Digest, owner, place. The owner is the number of a file, or, below 0, of a good that is a directory. The
place is the number of a leaf, or, below 0, of a node (`node_place`)."""


def node_place(number: int) -> int:
    """The place of an owner's node of that number, from 0."""
    return -1 - number


def node_key(owner: int, place: int) -> int:
    """The key of the node's row."""
    return (owner << NODE_BITS) - 1 - place


class BlockIndex:
    """Found in the event loop; written to by any thread, within `ContentDatabase.writing`."""

    def __init__(self, database: ContentDatabase) -> None:
        self._database = database
        self._filter: BlockFilter | None = None
        self._added = 0

    def load(self) -> None:
        """Reads all digests into the filter. Before that, each question costs a look at the disk."""
        with self._database.reading() as connection:
            self._refill(connection)

    def may_have(self, multihash: bytes) -> bool:
        """Whether the block may be here. No disk, no lock."""
        if self._filter is None:
            return len(multihash) == 2 + DIGEST_BYTES and multihash.startswith(b"\x12\x20")
        return self._filter.may_have(multihash)

    def places(self, digest: bytes, most: int) -> list[tuple[int, int]]:
        """Owner and place of each time that the block is here, once for each owner, at most that many. Raises
        NodeFault."""
        found = self._database.rows(_ROWS, (digest, most))
        return [(owner, place) for owner, place in found if _is_place(owner, place)]

    def node(self, owner: int, place: int) -> bytes | None:
        """The block of a node; None: it was deleted meanwhile, or is damaged. Raises NodeFault."""
        rows = self._database.rows("SELECT block FROM nodes WHERE id = ?", (node_key(owner, place),))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def put_nodes(self, connection: sqlite3.Connection, owner: int, first: int, blocks: list[bytes]) -> None:
        """Writes nodes with consecutive numbers. They are found when their rows are."""
        keys = range(node_key(owner, node_place(first)), 1 << 62)
        connection.executemany(_PUT_NODES, zip(keys, blocks, strict=False))

    def put_rows(self, connection: sqlite3.Connection, rows: list[BlockRow]) -> None:
        """Writes rows in the order of their digests, in which neighbours share pages."""
        rows.sort()
        if self._filter is not None:
            if self._added + len(rows) > self._filter.capacity:
                self._refill(connection, len(rows))
            # Before they can be found.
            self._filter.add(b"".join(row[0] for row in rows))
            self._added += len(rows)
        connection.executemany(_PUT_ROWS, rows)

    def drop(self, connection: sqlite3.Connection, owner: int, digest: bytes) -> None:
        """Has the blocks of an owner that is no longer there deleted by `purge`; `digest`: of its root."""
        connection.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?)", (owner, digest))

    def purge(self) -> bool:
        """Deletes some blocks of a dropped owner; False: there are no more."""
        with self._database.writing() as connection:
            row = connection.execute(_DROPPED).fetchone()
            if row is None:
                return False
            owner, root = row
            keys = (owner << NODE_BITS, (owner + 1) << NODE_BITS)
            nodes = connection.execute(_NODES, (*keys, NODES_A_PURGE)).fetchall()
            digests = {root} if root else set()
            for _, block in nodes:
                digests.update(_digests_below(block))
            connection.executemany(_DROP_ROWS, [(digest, owner) for digest in sorted(digests)])
            connection.executemany("DELETE FROM nodes WHERE id = ?", [(key,) for key, _ in nodes])
            if len(nodes) < NODES_A_PURGE:
                connection.execute("DELETE FROM dropped WHERE owner = ?", (owner,))
        return True

    def _refill(self, connection: sqlite3.Connection, more: int = 0) -> None:
        """A filter for twice as many as there are, so that each is read again a few times at most."""
        count: int = connection.execute("SELECT count(*) FROM blocks").fetchone()[0]
        capacity = FIRST_CAPACITY
        while capacity < count + more:
            capacity *= 2
        fresh = BlockFilter(capacity)
        rows = connection.execute("SELECT digest FROM blocks")
        while some := rows.fetchmany(ROWS_A_READ):
            fresh.add(_joined([digest for (digest,) in some]))
        self._filter, self._added = fresh, count


def _is_place(owner: object, place: object) -> bool:
    """Whether a row is one of ours: another costs its block."""
    if not isinstance(owner, int) or not isinstance(place, int):
        return False
    return 0 < abs(owner) <= MAX_OWNER and abs(place) <= MAX_OWNER


def _joined(digests: Sequence[bytes]) -> bytes:
    """Without those that are none."""
    try:
        joined = b"".join(digests)
    except TypeError:
        joined = b""
    if len(joined) == DIGEST_BYTES * len(digests) and all(len(one) == DIGEST_BYTES for one in digests):
        return joined
    return b"".join(one for one in digests if isinstance(one, bytes) and len(one) == DIGEST_BYTES)


def _digests_below(block: object) -> Iterator[bytes]:
    """Of a node and of what it links to; of a damaged one nothing is known."""
    if isinstance(block, bytes):
        yield sha256(block)
        with suppress(PeerFault):
            yield from (link.cid[-DIGEST_BYTES:] for link in decode_pb_node(block).links)
