"""A small shop for tests: files of a directory, sold out of the files themselves, and any other blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastmarket.content.place import FileBlock, FileMoved, InlineBlock, Place, SoldFile, read_place
from fastmarket.errors import PeerFault
from fastmarket.formats.block import verify_block
from fastmarket.formats.car import CarReader
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.leaf import leaf_frame
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.native.sha256 import sha256

DIRECTORY = b"\x08\x01"  # UnixFS: Type = Directory


class ShopFile:
    """A file on disk, as it was when it was imported."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._state = self._of(os.stat(path))
        self._descriptor = os.open(path, os.O_RDONLY)
        self.opened_count = 0

    @property
    def path(self) -> str:
        return self._path

    @property
    def size(self) -> int:
        return self._state[1]

    def close(self) -> None:
        os.close(self._descriptor)

    @staticmethod
    def _of(status: os.stat_result) -> tuple[int, int, int]:
        return status.st_ino, status.st_size, status.st_mtime_ns

    def is_here(self) -> bool:
        try:
            return self._of(os.stat(self._path)) == self._state
        except OSError:
            return False

    @contextmanager
    def opened(self) -> Iterator[int]:
        self.opened_count += 1
        if not self.is_here():
            raise FileMoved(f"{self._path} changed")
        yield self._descriptor

    def is_unmoved(self, descriptor: int) -> bool:
        return self._of(os.fstat(descriptor)) == self._state


class Shop:
    """A source of blocks; `finds` counts the questions."""

    def __init__(self) -> None:
        self._places: dict[bytes, Place] = {}
        self._files: dict[bytes, SoldFile] = {}
        self.files: list[ShopFile] = []
        self.finds = 0
        self.leaves: list[Cid] = []
        """Of all files, in order."""

    def close(self) -> None:
        for file in self.files:
            file.close()

    # --- BlockSource

    def find(self, multihash: bytes) -> Place | None:
        self.finds += 1
        place = self._places.get(multihash)
        if isinstance(place, FileBlock) and not place.file.is_here():  # type: ignore[attr-defined]
            return None
        return place

    def read(self, multihash: bytes) -> bytes | None:
        place = self.find(multihash)
        return None if place is None else read_place(place)

    def file_of(self, cid: Cid) -> SoldFile | None:
        sold = self._files.get(cid.multihash)
        return sold if sold is not None and sold.file.is_here() else None  # type: ignore[attr-defined]

    # --- to fill it

    def sell(self, path: Path, profile: CidProfile = UNIXFS_V0_2015) -> Cid:
        """Imports a file; its leaves stay in it."""
        file = ShopFile(path)
        self.files.append(file)

        importer = UnixfsImporter(profile, lambda cid, block: self.put(block) and None)
        data = path.read_bytes()
        for at in range(0, len(data), profile.chunk_bytes):
            chunk = data[at : at + profile.chunk_bytes]
            prefix, suffix = leaf_frame(len(chunk), profile.raw_leaves)
            digest = sha256(prefix + chunk + suffix)
            importer.add_leaves(digest, len(chunk))
            self.leaves.append(Cid.from_bytes(profile.leaf_prefix + digest))
            self._places[SHA2_256_PREFIX + digest] = FileBlock(file, at, len(chunk), prefix, suffix)
        cid = importer.finish()
        if not file.size:
            self._places[cid.multihash] = InlineBlock(b"".join(leaf_frame(0, profile.raw_leaves)))
        self._files[cid.multihash] = SoldFile(file, file.size, path.name)
        return cid

    def put(self, block: bytes) -> bytes:
        """Keeps a block; returns its multihash."""
        multihash = SHA2_256_PREFIX + sha256(block)
        self._places[multihash] = InlineBlock(block)
        return multihash

    def directory(self, **entries: Cid) -> Cid:
        """A directory of these."""
        links = [PbLink(cid.raw, name.encode(), 0) for name, cid in sorted(entries.items())]
        return Cid(1, Codec.DAG_PB, self.put(encode_pb_node(links, DIRECTORY)))

    def break_up(self, cid: Cid) -> None:
        """No longer knows it as a whole file, only by its blocks."""
        del self._files[cid.multihash]

    def forget(self, multihash: bytes) -> None:
        """Has the block no more."""
        del self._places[multihash]

    def load_car(self, path: Path) -> tuple[bytes, ...]:
        """Keeps the blocks of a CAR; returns its roots."""
        reader = CarReader()
        for cid, block in reader.feed(path.read_bytes()):
            if not verify_block(cid, block):
                raise PeerFault("a wrong block")
            self._places[Cid.from_bytes(cid).multihash] = InlineBlock(block)
        return reader.roots
