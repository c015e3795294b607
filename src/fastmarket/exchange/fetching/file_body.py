"""The body of one file: which blocks are wanted, and what becomes of them.

Each block is hashed before it comes here. What its parent promises for it is compared with what it has before
a byte of it is put out: a wrong size would move everything behind it.
"""

from __future__ import annotations

from collections import deque

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.exchange.fetching.faults import bad_content
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.kept_spans import KeptSpans
from fastmarket.exchange.fetching.links import PackedLinks
from fastmarket.exchange.fetching.output import Content, FileOutput
from fastmarket.exchange.fetching.roster import Roster
from fastmarket.exchange.fetching.walk import LeafWalk
from fastmarket.exchange.fetching.wanted import Place, WantedBlock
from fastmarket.formats.block import RAW_HEAD, inline_block, split_cid, verify_block
from fastmarket.formats.unixfs.leaf import leaf_frame
from fastmarket.formats.unixfs.node import FileNode, read_node

INNER_BYTES = 8 * 1024
"""Expected of an inner node: 174 links."""

# Places taken from the walk in one turn: a hostile DAG of equal blocks costs no request, and a turn 5 ms.
_PLACES_A_TURN = 512
# Inner nodes kept for further links to them.
_MAX_NODES_BYTES = 8 * 1024 * 1024
_IDENTITY_AT = 2  # in a CIDv1 of a one-byte codec, the hash function


class FileBody:
    """Everything below the root of a file, as a `WantedBlocks`. Its methods raise BadContent if the content
    breaks a rule of UnixFS or a limit of the configuration."""

    __slots__ = (
        "_active",
        "_again",
        "_config",
        "_frame",
        "_inner_bytes",
        "_inner_count",
        "_kept",
        "_nodes",
        "_output",
        "_roster",
        "_walk",
        "has_more",
    )

    def __init__(self, config: FetchConfig, output: FileOutput, kept: KeptSpans, roster: Roster) -> None:
        self._config = config
        self._output = output
        self._kept = kept
        self._roster = roster
        self._walk = LeafWalk(config, output.first, output.end)
        self._active: dict[bytes, WantedBlock] = {}
        self._again: deque[WantedBlock] = deque()  # kept ones that are not right
        self._nodes: BoundedMap[bytes, PackedLinks] = BoundedMap(
            max_weight=_MAX_NODES_BYTES, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._inner_count = 0  # under way
        self._inner_bytes = 0
        self._frame = (0, b"", b"")  # of the latest size of a dag-pb leaf
        self.has_more = False
        """Whether a turn ended before all was taken that could be."""

    def start(self, cid: bytes, node: FileNode, block_bytes: int, holder: int | None) -> None:
        """Takes the root's node."""
        self._add_node(Place(cid, 0, node.file_bytes, 0), PackedLinks(node), block_bytes, holder)

    # --- what is wanted

    def next_block(self) -> WantedBlock | None:
        """The next one: inner nodes first, then leaves by offset."""
        if self._again:
            return self._again.popleft()
        for _ in range(_PLACES_A_TURN):
            reach = self._output.reach
            place = None
            if self._inner_count < self._config.max_inner_requests:
                place = self._walk.next_inner(reach)
            is_inner = place is not None
            if place is None:
                leaf_offset = self._walk.leaf_offset
                if leaf_offset >= reach or not self._output.has_room(leaf_offset):
                    return None
                place = self._walk.next_leaf()
                self._output.take(place)
            block = self._want(place, is_inner, may_be_kept=True)
            if block is not None:
                return block
        self.has_more = True
        return None

    def _want(self, place: Place, is_inner: bool, *, may_be_kept: bool) -> WantedBlock | None:
        """A block to be fetched for that place; None: nothing is, or it is under way already."""
        cid = place.cid
        node = self._nodes.get(cid)
        if node is not None:
            if not is_inner:
                self._output.give_back(place)
            self._expand(place, node, None)
            return None
        if not is_inner and may_be_kept and self._kept.covers(place.offset, place.offset + place.length):
            self._output.read_kept(place)
            return None
        active = self._active.get(cid)
        if active is not None:
            active.places.append(place)
            return None
        if not is_inner and self._copy(place):
            return None
        block = WantedBlock(
            cid,
            is_inner,
            place.offset,
            INNER_BYTES if is_inner else place.length,
            0 if is_inner else place.length,
        )
        block.places.append(place)
        if cid[_IDENTITY_AT : _IDENTITY_AT + 1] == b"\0":
            inline = inline_block(cid)
            if inline is not None:
                self._inner_count += is_inner
                self._on_block(block, inline, None)
                return None
        self._active[cid] = block
        self._inner_count += is_inner
        return block

    def _copy(self, place: Place) -> bool:
        """Puts out a content that is here or in the file already."""
        content = self._output.known(place.cid)
        if content is None:
            return self._output.read_copy(place)
        self._put(place, content, None)
        return True

    # --- what came

    def on_block(self, block: WantedBlock, data: bytes, holder: HolderState) -> int:
        """A block with the right hash; returns the bytes of the file in it. Raises CallerFault("max_cost",
        ...) as `Roster.check_bill` does."""
        self._active.pop(block.cid, None)
        return self._on_block(block, data, holder)

    def _on_block(self, block: WantedBlock, data: bytes, holder: HolderState | None) -> int:
        self._inner_count -= block.is_inner
        content = self._plain_leaf(block.cid, block.places[0].length, data)
        if content is None:
            node = self._read(block.cid, data)
            if node.children:
                self._on_node(block, PackedLinks(node), len(data), holder)
                return len(node.inline)
            content = node.inline
        self._output.remember(block.cid, content)
        key = None if holder is None else holder.key
        for place in block.places:
            if block.is_inner:
                self._output.take(place)  # it was taken for a node
            self._put(place, content, key)
            key = None
        return len(content)

    def _on_node(
        self, block: WantedBlock, node: PackedLinks, block_bytes: int, holder: HolderState | None
    ) -> None:
        self._roster.check_bill(holder, len(node.inline))
        key = None if holder is None else holder.key
        for place in block.places:
            if not block.is_inner:
                self._output.give_back(place)
                self._walk.on_inner(place.depth)
            self._add_node(place, node, block_bytes, key)
            key = None

    def _plain_leaf(self, cid: bytes, length: int, data: bytes) -> Content | None:
        """The file's bytes in a leaf as all importers write it, which need not be parsed; None: it is not
        one."""
        if cid.startswith(RAW_HEAD):
            return data
        size, before, behind = self._frame
        if size != length:
            before, behind = leaf_frame(length, raw=False)
            self._frame = length, before, behind
        start = len(before)
        if len(data) != start + length + len(behind) or not length:
            return None
        if not data.startswith(before) or not data.endswith(behind):
            return None
        return memoryview(data)[start : start + length]

    def _read(self, cid: bytes, data: bytes) -> FileNode:
        try:
            node = read_node(split_cid(cid).codec, data)
        except PeerFault as fault:
            raise bad_content(fault.reason, cid) from None
        if not isinstance(node, FileNode):
            raise bad_content("a part of a file that is not a file", cid)
        return node

    def _put(self, place: Place, content: Content, holder: int | None) -> None:
        if len(content) != place.length:
            raise bad_content(
                f"has {len(content)} bytes of the file, promised were {place.length}", place.cid
            )
        self._output.put(place, content, holder)

    def _add_node(self, place: Place, node: PackedLinks, block_bytes: int, holder: int | None) -> None:
        if node.file_bytes != place.length:
            raise bad_content(
                f"has {node.file_bytes} bytes of the file, promised were {place.length}", place.cid
            )
        if place.cid not in self._nodes:
            self._inner_bytes += block_bytes
            most = self._config.free_inner_bytes + self._output.end - self._output.first
            if self._inner_bytes > most:
                raise bad_content(f"inner nodes of more than {most} bytes in a file of that size", place.cid)
            self._nodes.put(place.cid, node, block_bytes)
        self._expand(place, node, holder)

    def _expand(self, place: Place, node: PackedLinks, holder: int | None) -> None:
        if node.file_bytes != place.length:
            raise bad_content(
                f"has {node.file_bytes} bytes of the file, promised were {place.length}", place.cid
            )
        inline = node.inline
        if inline and place.offset < self._output.end and place.offset + len(inline) > self._output.first:
            own = Place(b"", place.offset, len(inline), place.depth)
            self._output.take(own)
            self._output.put(own, inline, holder)
        try:
            self._walk.expand(node, place.offset, place.depth + 1)
        except LimitExceeded as fault:
            raise bad_content(str(fault), place.cid) from None

    # --- what was written

    def handle_kept(self, number: int, data: bytes | bytearray | memoryview | None) -> None:
        """What was read of the file: it is hashed like any block, and fetched if it is not right."""
        read = self._output.take_read(number)
        if read is None:
            return
        place, is_copy = read
        cid = place.cid
        if data is not None and len(data) == place.length and self._is_leaf(cid, data):
            if is_copy:
                self._output.put(place, bytes(data), None)
            else:
                self._output.on_kept(place)
            return
        if is_copy:
            self._output.forget_place(cid)
        block = self._want(place, False, may_be_kept=False)
        if block is not None:
            self._again.append(block)

    def _is_leaf(self, cid: bytes, data: bytes | bytearray | memoryview) -> bool:
        before, behind = leaf_frame(len(data), raw=cid.startswith(RAW_HEAD))
        return verify_block(cid, b"".join((before, data, behind)))
