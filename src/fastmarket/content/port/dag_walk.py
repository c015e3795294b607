"""The blocks of a CAR: a depth-first walk over a DAG, by scope and by bytes of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fastmarket.bounded_map import BoundedMap
from fastmarket.content.place import FileBlock, Place
from fastmarket.content.port.block_names import BlockName, named_by_link
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.pieces import AnswerCut
from fastmarket.errors import PeerFault
from fastmarket.formats.cid import Codec
from fastmarket.formats.unixfs.node import FileNode, HamtNode, UnixfsNode

MAX_DEPTH = 1024  # as boxo 0.42.1; files of terabytes have four levels

MAX_SEEN = 16_384
"""Blocks remembered to be sent once (dups=n): 4 GiB of leaves, some 3 MB for each CAR under way. One that
repeats after more than that is sent again, which readers must be able to take."""


class DagScope(Enum):
    """How much of a DAG is sent, below the path to it."""

    BLOCK = "block"
    ENTITY = "entity"  # what a file or the list of a directory is read from
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a block's DAG is wanted; `first` and `last`: bytes of a file, inclusive, None for all."""

    scope: DagScope
    first: int = 0
    last: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no range of bytes is asked for."""
        return self.first == 0 and self.last is None


_Step = tuple[BlockName, Part]


class DagWalk:
    """Goes through the blocks of one CAR, in the order in which they are sent."""

    def __init__(self, nodes: DagNodes, duplicates: bool) -> None:
        self._nodes = nodes
        self._duplicates = duplicates
        # Of each block sent, whether all below it is sent as well.
        self._seen: BoundedMap[bytes, bool] = BoundedMap(MAX_SEEN)

    def passed(self, names: tuple[BlockName, ...]) -> Iterator[tuple[BlockName, Place]]:
        """The blocks on the way to the DAG."""
        for name in names:
            if self._is_new(name.multihash, whole=False):
                yield name, self._place(name)

    def below(self, root: BlockName, part: Part) -> Iterator[tuple[BlockName, Place | None]]:
        """Each block; its place is None if it was sent before, or stands in its CID, and no bytes follow.
        Raises AnswerCut."""
        stack: list[Iterator[_Step]] = [iter(((root, part),))]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            name, part = step
            whole = part.is_whole and part.scope is not DagScope.BLOCK
            if self._is_sent(name.multihash, whole):
                yield name, None
                continue
            place = self._place(name)
            is_new = self._is_new(name.multihash, whole)
            yield name, place if is_new and name.inline is None else None
            below = self._children(name, place, part)
            if below is not None:
                if len(stack) == MAX_DEPTH:
                    raise AnswerCut(f"a DAG deeper than {MAX_DEPTH}")
                stack.append(below)

    def _is_sent(self, multihash: bytes, whole: bool) -> bool:
        """Whether nothing of it is missing."""
        return whole and not self._duplicates and self._seen.peek(multihash) is True

    def _is_new(self, multihash: bytes, whole: bool) -> bool:
        if self._duplicates:
            return True
        seen = self._seen.peek(multihash)
        if seen is None or (whole and not seen):
            self._seen.put(multihash, whole)
        return seen is None

    def _place(self, name: BlockName) -> Place:
        place = self._nodes.place(name)
        if place is None:
            raise AnswerCut("a block of the DAG is not here")
        return place

    def _children(self, name: BlockName, place: Place, part: Part) -> Iterator[_Step] | None:
        if part.scope is DagScope.BLOCK or name.codec == Codec.RAW or isinstance(place, FileBlock):
            return None  # a block out of a file is a leaf
        if part.scope is DagScope.ENTITY:
            node = self._node(name)
            if isinstance(node, FileNode):
                return _in_range(node, part)
            if isinstance(node, HamtNode):
                return ((named_by_link(link.cid), part) for link in node.shards)
            return None
        return self._all_links(name, part)

    def _node(self, name: BlockName) -> UnixfsNode | None:
        try:
            return self._nodes.node(name)
        except PeerFault:
            return None  # not UnixFS: an entity of one block

    def _all_links(self, name: BlockName, part: Part) -> Iterator[_Step]:
        if name.codec != Codec.DAG_PB:
            raise AnswerCut(f"links of codec {name.codec:#x} are not followed")
        try:
            links = self._nodes.links(name)
        except PeerFault as fault:
            raise AnswerCut(f"a block of the DAG is malformed: {fault}") from None
        if links is None:
            raise AnswerCut("a block of the DAG is not here")
        return ((link, part) for link in links)


def _in_range(node: FileNode, part: Part) -> Iterator[_Step]:
    """The children of a file's node that hold some of the bytes, each with those that it holds."""
    if part.is_whole:
        for child in node.children:
            yield named_by_link(child.cid), part
        return
    first, last = part.first, part.last
    at = len(node.inline)
    for cid, size in node.children:
        start, end, at = at, at + size - 1, at + size
        if end < first or (last is not None and start > last):
            continue
        since = max(first - start, 0)
        until = None if last is None or last >= end else last - start
        yield named_by_link(cid), Part(part.scope, since, until)


def resolved_part(node: object, scope: DagScope, entity_bytes: tuple[int, int | None]) -> Part:
    """The part for `entity-bytes`, of which negative numbers count from the end, by the size of the file.

    Nothing within the file: as its block alone. Ignored for what is not a file.
    """
    if not isinstance(node, FileNode):
        return Part(scope)
    size = node.file_bytes
    first, last = entity_bytes
    first = max(size + first, 0) if first < 0 else first
    if last is not None and last < 0:
        last = size + last
    if first >= size or (last is not None and last < first):
        return Part(DagScope.BLOCK)
    return Part(DagScope.ENTITY, first, None if last is None or last >= size - 1 else last)
