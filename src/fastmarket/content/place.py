"""Where the bytes of a block are: in memory, or in a file that is sold, between the bytes that frame them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fastmarket.errors import NodeFault


class FileMoved(NodeFault):
    """A file that is sold is not the one that was imported: it changed, or is gone. Nothing of it is
    served."""


class OpenableFile(Protocol):
    """A file that is sold."""

    @property
    def path(self) -> str:
        """Its path, absolute."""

    @property
    def size(self) -> int:
        """Its bytes, as they were imported."""

    def opened(self) -> AbstractContextManager[int]:
        """A descriptor for `os.pread` and `os.sendfile` at offsets, shared: nobody may seek or close it.

        It was checked to be the file that was imported. Raises FileMoved.
        """

    def is_unmoved(self, descriptor: int) -> bool:
        """Whether the file behind the descriptor is still as it was imported: one fstat.

        Ask it after the bytes were read, and before they leave if they are in memory. If not, the content is
        no longer served, and what was sent of it must not look complete: the connection is aborted.
        """


@dataclass(frozen=True, slots=True)
class InlineBlock:
    """A block that is kept as such: a node above the leaves of a file, or a directory."""

    block: bytes

    @property
    def size(self) -> int:
        """The bytes of the block."""
        return len(self.block)


@dataclass(frozen=True, slots=True)
class FileBlock:
    """A leaf: `prefix`, the `length` bytes of the file at `offset`, `suffix`."""

    file: OpenableFile
    offset: int
    length: int
    prefix: bytes
    suffix: bytes

    @property
    def size(self) -> int:
        """The bytes of the block."""
        return len(self.prefix) + self.length + len(self.suffix)


Place: TypeAlias = InlineBlock | FileBlock


@dataclass(frozen=True, slots=True)
class SoldFile:
    """The whole file behind a CID; `name`: the last part of its path, for people."""

    file: OpenableFile
    size: int
    name: str


def read_place(place: Place) -> bytes:
    """The block. Raises FileMoved if the file is not, or was not all the time, the one that was imported."""
    if isinstance(place, InlineBlock):
        return place.block
    with place.file.opened() as descriptor:
        try:
            chunk = os.pread(descriptor, place.length, place.offset)
        except OSError as error:
            raise FileMoved(f"cannot read {place.file.path}: {error.strerror}") from None
        if len(chunk) != place.length or not place.file.is_unmoved(descriptor):
            raise FileMoved(f"{place.file.path} changed while it was read")
    return b"".join((place.prefix, chunk, place.suffix))
