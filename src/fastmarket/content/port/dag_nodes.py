"""Blocks of a source by their names, and the UnixFS nodes in them; the nodes used last stay decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.content.place import InlineBlock, Place
from fastmarket.content.port.block_names import BlockName, named_by_link
from fastmarket.content.source import BlockSource
from fastmarket.formats.cid import Codec
from fastmarket.formats.dag_pb import decode_pb_node
from fastmarket.formats.unixfs.node import DirectoryNode, UnixfsNode, read_node

MAX_NODE_CACHE_BYTES = 2 * 1024 * 1024
"""Blocks whose nodes stay decoded, some 20 MB then: 250 inner nodes of files, or seven large directories; and
as many whose links do. To decode 5,000 entries takes 10 ms, and any stranger may ask for one of them."""


class _Decoded(NamedTuple):
    node: UnixfsNode
    by_name: Mapping[str, bytes]  # of a directory: the CID of each entry


class DagNodes:
    """Reads the DAGs of a source."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self._decoded: BoundedMap[tuple[bool, bytes], _Decoded] = BoundedMap(
            max_weight=MAX_NODE_CACHE_BYTES, eviction=Eviction.LEAST_RECENTLY_USED
        )

        self._links: BoundedMap[bytes, tuple[BlockName, ...]] = BoundedMap(
            max_weight=MAX_NODE_CACHE_BYTES, eviction=Eviction.LEAST_RECENTLY_USED
        )

    def place(self, name: BlockName) -> Place | None:
        """Where a block is; None: not here."""
        return self._source.find(name.multihash) if name.inline is None else InlineBlock(name.inline)

    def block(self, name: BlockName) -> bytes | None:
        """The block itself; None: not here."""
        return self._source.read(name.multihash) if name.inline is None else name.inline

    def node(self, name: BlockName) -> UnixfsNode | None:
        """The node in a block; None: not here. Raises PeerFault if it is not UnixFS."""
        found = self._read(name)
        return None if found is None else found.node

    def entry(self, name: BlockName, segment: str) -> bytes | None:
        """The CID of a flat directory's entry; None: there is no such entry. The block must be here."""
        found = self._read(name)
        return None if found is None else found.by_name.get(segment)

    def links(self, name: BlockName) -> tuple[BlockName, ...] | None:
        """What a dag-pb block links to, UnixFS or not; None: not here. Raises PeerFault if malformed."""
        found = self._links.get(name.multihash)
        if found is not None:
            return found if self.place(name) is not None else None
        block = self.block(name)
        if block is None:
            return None
        found = tuple(named_by_link(link.cid) for link in decode_pb_node(block).links)
        self._links.put(name.multihash, found, len(block))
        return found

    def _read(self, name: BlockName) -> _Decoded | None:
        key = name.codec == Codec.RAW, name.multihash  # the codec decides what the block is
        found = self._decoded.get(key)
        if found is not None:
            # What is no longer sold is not served from here either.
            return found if self.place(name) is not None else None
        block = self.block(name)
        if block is None:
            return None
        node = read_node(name.codec, block)
        by_name = {one.name: one.cid for one in node.entries} if isinstance(node, DirectoryNode) else {}
        found = _Decoded(node, by_name)
        if name.codec != Codec.RAW:  # a raw block is its own node
            self._decoded.put(key, found, len(block))
        return found
