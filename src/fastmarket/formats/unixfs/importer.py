"""UnixFS files in the layout of `ipfs add`: fixed chunks, a balanced tree, the same CIDs byte for byte.

Sans-IO: feed bytes or leaf digests, read the root CID. Memory is one chunk and, for each level of the tree,
the links of one node.

Sources: ipfs/specs unixfs.md (messages, balanced layout), the DAG-PB specification (links precede data).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.leaf import encode_leaf, leaf_tree_bytes
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.native.sha256 import sha256

OnNode = Callable[[bytes, bytes], None]
"""Gets the binary CID and the block of a node."""


@dataclass(frozen=True, slots=True)
class DagLink:
    """A child of a node: its CID, the file bytes below it, and the total bytes of the blocks below and in
    it."""

    cid: bytes
    file_bytes: int
    tree_bytes: int


def encode_node(links: list[DagLink]) -> bytes:
    """The dag-pb node of a UnixFS file composed of `links`, in order."""
    sizes = tuple(link.file_bytes for link in links)
    message = UnixfsMessage(NodeKind.FILE, b"", sum(sizes), sizes)
    # As `ipfs add` has it, a link inside a file has a name, which is empty.
    return encode_pb_node((PbLink(link.cid, b"", link.tree_bytes) for link in links), encode_message(message))


class UnixfsImporter:
    """Builds the tree of one file from left to right.

    `on_node` gets each node above the leaves when it is complete, children before their parents, the root
    last. The blocks of leaves are made of the file (`unixfs.leaf.leaf_frame`); the root of a file of one
    chunk is its leaf.
    """

    def __init__(self, profile: CidProfile = UNIXFS_V0_2015, on_node: OnNode | None = None) -> None:
        self.profile = profile
        self._on_node = on_node
        self._leaf_prefix, self._node_prefix = profile.leaf_prefix, profile.node_prefix
        self._chunk_bytes = profile.chunk_bytes
        self._chunk_tree_bytes = leaf_tree_bytes(profile.chunk_bytes, profile.raw_leaves)
        self._pending = bytearray()
        self._levels: list[list[DagLink]] = [[]]
        self._root: DagLink | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the file, in pieces of any size."""
        self._still_open()
        chunk_bytes = self._chunk_bytes
        self._pending += data
        whole = len(self._pending) - len(self._pending) % chunk_bytes
        if whole:
            with memoryview(self._pending) as view:
                for at in range(0, whole, chunk_bytes):
                    self._add_chunk(bytes(view[at : at + chunk_bytes]))
            del self._pending[:whole]

    def add_leaves(self, digests: bytes, file_bytes: int) -> None:
        """Takes the next leaves as digests: 32 bytes each, for `file_bytes` in total, cut every `chunk_bytes`
        of the profile.

        Only a file's last call may end in a short leaf.
        """
        self._still_open()
        chunk_bytes = self._chunk_bytes
        count = -(-file_bytes // chunk_bytes)
        if len(digests) != 32 * count or self._pending:
            raise CallerFault("digests", f"expects {count} whole leaves, aligned with the file's chunks")
        for i in range(count):
            size = min(chunk_bytes, file_bytes - i * chunk_bytes)
            self._add_leaf(digests[32 * i : 32 * i + 32], size)

    def finish(self) -> Cid:
        """The CID of the file; nothing can be fed afterwards."""
        return Cid.from_bytes(self.finish_link().cid)

    def finish_link(self) -> DagLink:
        """Like `finish`, with the sizes that a directory needs."""
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
        self._add_leaf(sha256(chunk if self.profile.raw_leaves else encode_leaf(chunk)), len(chunk))

    def _add_leaf(self, digest: bytes, size: int) -> None:
        whole = size == self._chunk_bytes
        tree_bytes = self._chunk_tree_bytes if whole else leaf_tree_bytes(size, self.profile.raw_leaves)
        self._push(0, DagLink(self._leaf_prefix + digest, size, tree_bytes))

    def _push(self, level: int, link: DagLink) -> None:
        """Appends to a level; a full one is first sealed into a node above, so no level is ever empty."""
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == self.profile.links_per_node:
            self._seal(level)
        self._levels[level].append(link)

    def _seal(self, level: int) -> None:
        links = self._levels[level]
        node = encode_node(links)
        cid = self._node_prefix + sha256(node)
        file_bytes = sum(link.file_bytes for link in links)
        tree_bytes = len(node) + sum(link.tree_bytes for link in links)
        self._levels[level] = []
        if self._on_node is not None:
            self._on_node(cid, node)
        self._push(level + 1, DagLink(cid, file_bytes, tree_bytes))

    def _close(self) -> DagLink:
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            self._seal(level)
            level += 1
        return self._levels[level][0]


def cid_of_bytes(data: bytes, profile: CidProfile = UNIXFS_V0_2015) -> Cid:
    """The CID `ipfs add` gives to a file of these bytes."""
    importer = UnixfsImporter(profile)
    importer.feed(data)
    return importer.finish()
