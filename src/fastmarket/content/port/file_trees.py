"""The bytes of a file, out of the blocks of its tree, for files that are not sold as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from fastmarket.content.place import FileBlock
from fastmarket.content.port.block_names import BlockName, named_by_link
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.pieces import AnswerCut, FileSlice, Piece, Pieces, place_pieces
from fastmarket.errors import PeerFault
from fastmarket.formats.cid import Codec
from fastmarket.formats.unixfs.node import FileNode

MAX_DEPTH = 32  # of a file's tree; those of terabytes have four levels

_Step = tuple[BlockName, int, int, int]  # a block, the bytes of the file below it, and of these from .. to


def tree_pieces(nodes: DagNodes, node: FileNode, start: int, end: int) -> Pieces:
    """The bytes from `start` to before `end`. Raises AnswerCut, on the way as well."""
    yield from _inline(node, start, end)
    stack = [_children(node, start, end)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        name, size, first, last = step
        leaf = _leaf(nodes, name, size, first, last)
        if leaf is not None:
            yield from leaf
            continue
        below = _inner(nodes, name, size)
        yield from _inline(below, first, last)
        if len(stack) == MAX_DEPTH:
            raise AnswerCut(f"a file whose tree is deeper than {MAX_DEPTH}")
        stack.append(_children(below, first, last))


def _inline(node: FileNode, start: int, end: int) -> Iterator[Piece]:
    piece = node.inline[start:end]
    if piece:
        yield piece


def _children(node: FileNode, start: int, end: int) -> Iterator[_Step]:
    at = len(node.inline)
    for cid, size in node.children:
        first, last = max(start - at, 0), min(end - at, size)
        if first < last:
            yield named_by_link(cid), size, first, last
        at += size


def _leaf(nodes: DagNodes, name: BlockName, size: int, first: int, last: int) -> Iterator[Piece] | None:
    """The bytes of a leaf, without reading it here; None: the block has to be read."""
    place = nodes.place(name)
    if place is None:
        raise AnswerCut("a block of the file is not here")
    if isinstance(place, FileBlock):
        if place.length != size:
            raise AnswerCut("a part of a file that has not the size promised for it")
        return iter((FileSlice(place.file, place.offset + first, last - first),))
    if name.codec != Codec.RAW:
        return None
    if place.size != size:
        raise AnswerCut("a part of a file that has not the size promised for it")
    return place_pieces(place, first, last)


def _inner(nodes: DagNodes, name: BlockName, size: int) -> FileNode:
    try:
        node = nodes.node(name)
    except PeerFault as fault:
        raise AnswerCut(f"a part of a file is malformed: {fault}") from None
    if not isinstance(node, FileNode) or node.file_bytes != size:
        raise AnswerCut("a part of a file that is not here, or has not the size promised for it")
    return node
