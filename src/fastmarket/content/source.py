"""What the content port and Bitswap serve from."""

from __future__ import annotations

from typing import Protocol

from fastmarket.content.place import Place, SoldFile
from fastmarket.formats.cid import Cid


class BlockSource(Protocol):
    """Blocks by multihash. Each method is called in the event loop: it costs microseconds, and no disk for
    what is not here."""

    def find(self, multihash: bytes) -> Place | None:
        """Where the block is; None: it is not sold here, or its file is no longer as it was."""

    def read(self, multihash: bytes) -> bytes | None:
        """The block itself, at most 2 MiB; None likewise."""

    def file_of(self, cid: Cid) -> SoldFile | None:
        """The whole file behind the root of a file, so that a range of it is one sendfile; None: not here, or
        a directory, or a part of a file."""
