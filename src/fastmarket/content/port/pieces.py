"""What an answer's body is made of: bytes, and slices of files that go from the disk to the socket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from fastmarket.content.place import FileBlock, FileMoved, InlineBlock, OpenableFile, Place
from fastmarket.errors import NodeFault


class AnswerCut(NodeFault):
    """What an answer promised is not here after all: it must not look complete."""


class FileSlice(NamedTuple):
    """`length` bytes of a file that is sold, from `offset`."""

    file: OpenableFile
    offset: int
    length: int


Piece: TypeAlias = bytes | FileSlice
Pieces: TypeAlias = Iterator[Piece]
"""An empty piece means: nothing to send yet, ask again. Raises AnswerCut or FileMoved, and then the answer
ends without its end."""


def place_pieces(place: Place, start: int, end: int) -> Iterator[Piece]:
    """The bytes of a block from `start` to before `end`, without empty pieces."""
    if isinstance(place, InlineBlock):
        if start < end:
            yield place.block[start:end]
        return
    for part in _parts(place):
        size = len(part) if isinstance(part, bytes) else part.length
        first, last = max(start, 0), min(end, size)
        if first < last:
            yield cut(part, first, last)
        start, end = start - size, end - size


def _parts(place: FileBlock) -> tuple[Piece, ...]:
    return place.prefix, FileSlice(place.file, place.offset, place.length), place.suffix


def cut(piece: Piece, first: int, last: int) -> Piece:
    """A piece's bytes from `first` to before `last`."""
    if isinstance(piece, bytes):
        return piece[first:last]
    return FileSlice(piece.file, piece.offset + first, last - first)


def piece_bytes(piece: Piece) -> int:
    """The length of a piece."""
    return len(piece) if isinstance(piece, bytes) else piece.length


def covers(outer: FileSlice | None, inner: FileSlice) -> bool:
    """Whether all of `inner` is in `outer`."""
    if outer is None or outer.file is not inner.file or inner.offset < outer.offset:
        return False
    return inner.offset + inner.length <= outer.offset + outer.length


def rest_of(outer: FileSlice | None, offset: int) -> FileSlice | None:
    """What of it is behind `offset`; None: nothing."""
    if outer is None or outer.offset + outer.length <= offset:
        return None
    return outer


def read_slice(piece: FileSlice, check: Callable[[int, FileSlice], None] | None = None) -> bytes:
    """The bytes of a slice, for who cannot send a file. Raises FileMoved, and what `check` of the descriptor
    raises."""
    file, offset, length = piece
    with file.opened() as descriptor:
        if check is not None:
            check(descriptor, piece)
        try:
            data = os.pread(descriptor, length, offset)
        except OSError as error:
            raise FileMoved(f"cannot read {file.path}: {error.strerror}") from None
        if len(data) != length or not file.is_unmoved(descriptor):
            raise FileMoved(f"{file.path} changed while it was read")
    return data
