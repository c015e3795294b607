"""UnixFS files in the layout of `ipfs add`: fixed chunks, a balanced tree, the same CIDs byte for byte.

Sans-IO: feed bytes or leaf digests, read the root CID. Memory is one chunk and, for each level of the tree,
the links of one node.

Sources: ipfs/specs UNIXFS.md (messages, balanced layout), the DAG-PB specification (links precede data).
"""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.unixfs.leaf import TYPE_FILE, encode_leaf, leaf_tree_bytes
from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.sha256 import sha256

CHUNK_BYTES = 256 * 1024
"""The default chunk size of `ipfs add`."""

LINKS_PER_NODE = 174
"""Children per node; kept a node of 34-byte links near 8 KiB when go-ipfs chose it."""


@dataclass(frozen=True, slots=True)
class DagLink:
    """A child of a node: its CID, the file bytes below it, and the total bytes of the blocks below and in
    it."""

    cid: bytes
    file_bytes: int
    tree_bytes: int


def encode_node(links: list[DagLink]) -> bytes:
    """The dag-pb node of a UnixFS file composed of `links`, in order."""
    parts: list[bytes] = []
    for link in links:
        # PBLink: Hash, Name (present and empty), Tsize
        body = b"".join(
            (
                b"\x0a",
                encode_uvarint(len(link.cid)),
                link.cid,
                b"\x12\x00\x18",
                encode_uvarint(link.tree_bytes),
            )
        )
        parts += (b"\x12", encode_uvarint(len(body)), body)
    data = [TYPE_FILE, b"\x18", encode_uvarint(sum(link.file_bytes for link in links))]
    for link in links:
        data += (b"\x20", encode_uvarint(link.file_bytes))
    encoded = b"".join(data)
    parts += (b"\x0a", encode_uvarint(len(encoded)), encoded)
    return b"".join(parts)


class UnixfsImporter:
    """Builds the tree of one file from left to right.

    `cid_version` 0 gives Qm... CIDs; 1 implies raw leaves unless `raw_leaves` says otherwise, as in `ipfs
    add`. Raw leaves are always CIDv1: a CIDv0 cannot name a raw block.
    """

    def __init__(self, *, cid_version: int = 0, raw_leaves: bool | None = None) -> None:
        if cid_version not in (0, 1):
            raise CallerFault("cid_version", f"is 0 or 1, not {cid_version}")
        self.cid_version = cid_version
        self.raw_leaves = cid_version == 1 if raw_leaves is None else raw_leaves
        self._pending = bytearray()
        self._levels: list[list[DagLink]] = [[]]
        self._root: Cid | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the file, in pieces of any size."""
        self._still_open()
        self._pending += data
        whole = len(self._pending) - len(self._pending) % CHUNK_BYTES
        if whole:
            with memoryview(self._pending) as view:
                for at in range(0, whole, CHUNK_BYTES):
                    self._add_chunk(bytes(view[at : at + CHUNK_BYTES]))
            del self._pending[:whole]

    def add_leaves(self, digests: bytes, file_bytes: int) -> None:
        """Takes the next leaves as digests: 32 bytes each, for `file_bytes` in total, cut every CHUNK_BYTES.

        Only a file's last call may end in a short leaf.
        """
        self._still_open()
        count = -(-file_bytes // CHUNK_BYTES)
        if len(digests) != 32 * count or self._pending:
            raise CallerFault("digests", f"expects {count} whole leaves, aligned with the file's chunks")
        for i in range(count):
            size = min(CHUNK_BYTES, file_bytes - i * CHUNK_BYTES)
            self._add_leaf(digests[32 * i : 32 * i + 32], size)

    def finish(self) -> Cid:
        """The CID of the file; nothing can be fed afterwards."""
        if self._root is None:
            if self._pending or not self._levels[0]:
                self._add_chunk(bytes(self._pending))
                self._pending.clear()
            self._root = self._close()
        return self._root

    def _still_open(self) -> None:
        if self._root is not None:
            raise CallerFault("data", "the file is already finished")

    def _add_chunk(self, chunk: bytes) -> None:
        self._add_leaf(sha256(chunk if self.raw_leaves else encode_leaf(chunk)), len(chunk))

    def _add_leaf(self, digest: bytes, size: int) -> None:
        cid = self._leaf_cid(digest)
        self._push(0, DagLink(cid.raw, size, size if self.raw_leaves else leaf_tree_bytes(size)))

    def _leaf_cid(self, digest: bytes) -> Cid:
        multihash = SHA2_256_PREFIX + digest
        if self.raw_leaves:
            return Cid(1, Codec.RAW, multihash)
        return Cid(self.cid_version, Codec.DAG_PB, multihash)

    def _push(self, level: int, link: DagLink) -> None:
        """Appends to a level; a full one is first sealed into a node above, so no level is ever empty."""
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == LINKS_PER_NODE:
            self._seal(level)
        self._levels[level].append(link)

    def _seal(self, level: int) -> None:
        links = self._levels[level]
        node = encode_node(links)
        cid = Cid(self.cid_version, Codec.DAG_PB, SHA2_256_PREFIX + sha256(node))
        file_bytes = sum(link.file_bytes for link in links)
        tree_bytes = len(node) + sum(link.tree_bytes for link in links)
        self._levels[level] = []
        self._push(level + 1, DagLink(cid.raw, file_bytes, tree_bytes))

    def _close(self) -> Cid:
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            self._seal(level)
            level += 1
        return Cid.from_bytes(self._levels[level][0].cid)


def cid_of_bytes(data: bytes, *, cid_version: int = 0, raw_leaves: bool | None = None) -> Cid:
    """The CID `ipfs add` gives to a file of these bytes."""
    importer = UnixfsImporter(cid_version=cid_version, raw_leaves=raw_leaves)
    importer.feed(data)
    return importer.finish()
