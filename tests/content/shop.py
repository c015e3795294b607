"""A catalogue with its importer and keeper, over a directory of the test's, and a buyer that checks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastmarket.config import ContentConfig
from fastmarket.content.allowed import AllowedPaths
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import Good, SellOrder
from fastmarket.content.importing import Importer, ImportEvent, ImportProgress
from fastmarket.content.keeping import GoodsKeeper
from fastmarket.content.place import FileBlock, read_place
from fastmarket.content.records import GoodPut
from fastmarket.formats.block import split_cid
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.node import DirectoryNode, FileNode, HamtNode, SymlinkNode, read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile

PRICE = 7


@dataclass
class Shop:
    """All parts of one store, and the files it may sell."""

    files: Path
    catalogue: Catalogue
    importer: Importer
    keeper: GoodsKeeper
    moved: asyncio.Event
    events: list[ImportEvent] = field(default_factory=list)

    def order(self, path: Path, profile: CidProfile = UNIXFS_V0_2015, **options: bool) -> SellOrder:
        return SellOrder(str(path), PRICE, b"me", "Me", profile, **options)

    async def sell(
        self, path: Path, profile: CidProfile = UNIXFS_V0_2015, **options: bool
    ) -> list[ImportEvent]:
        """All events but progress."""
        order = self.order(path, profile, **options)
        events = [event async for event in self.importer.sell(order)]
        assert isinstance(events[-1], ImportProgress)
        assert events[-1].done == events[-1].total
        return [event for event in events if not isinstance(event, ImportProgress)]

    async def sold(self, path: Path, profile: CidProfile = UNIXFS_V0_2015, **options: bool) -> Good:
        """The only good that comes of it."""
        (put,) = await self.sell(path, profile, **options)
        assert isinstance(put, GoodPut)
        return put.good

    def look(self, *, all_files: bool = False) -> list[Good]:
        return self.keeper.look(all_files=all_files)

    def rows(self, table: str) -> int:
        with self.catalogue.database.reading() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@contextmanager
def shop(
    directory: Path, config: ContentConfig | None = None, *, allow: tuple[str, ...] = ()
) -> Iterator[Shop]:
    """A store in `directory`/data for the files in `directory`/files; opened again it is as it was."""
    config = config or ContentConfig()
    data, files = directory / "data", directory / "files"
    data.mkdir(exist_ok=True)
    files.mkdir(exist_ok=True)
    moved = asyncio.Event()
    catalogue = Catalogue(data, config, moved.set)
    importer = Importer(catalogue, config, AllowedPaths(allow, (str(data),)), threads=2)
    keeper = GoodsKeeper(catalogue, config, moved)
    try:
        yield Shop(files, catalogue, importer, keeper, moved)
    finally:
        keeper.close()
        importer.close()
        catalogue.close()


def digest_of(cid: bytes) -> bytes:
    return cid[-32:]


def block_of(catalogue: Catalogue, cid: bytes) -> bytes | None:
    """The block, checked against its hash and its size."""
    multihash = b"\x12\x20" + digest_of(cid)
    place = catalogue.find(multihash)
    if place is None:
        return None
    block = read_place(place)
    assert len(block) == place.size
    assert hashlib.sha256(block).digest() == digest_of(cid)
    assert catalogue.read(multihash) == block
    return block


def bought(catalogue: Catalogue, cid: bytes | Cid) -> bytes:
    """The file, block by block."""
    raw = cid.raw if isinstance(cid, Cid) else cid
    block = block_of(catalogue, raw)
    assert block is not None
    node = read_node(split_cid(raw).codec, block)
    assert isinstance(node, FileNode)
    return node.inline + b"".join(bought(catalogue, child.cid) for child in node.children)


def listed(catalogue: Catalogue, cid: bytes | Cid) -> dict[str, bytes | str]:
    """Path and bytes of all files below a directory, targets of symlinks; not of its shards."""
    raw = cid.raw if isinstance(cid, Cid) else cid
    block = block_of(catalogue, raw)
    assert block is not None
    node = read_node(split_cid(raw).codec, block)
    assert isinstance(node, DirectoryNode)
    found: dict[str, bytes | str] = {}
    for entry in node.entries:
        below = block_of(catalogue, entry.cid)
        assert below is not None
        kind = read_node(split_cid(entry.cid).codec, below)
        if isinstance(kind, SymlinkNode):
            found[entry.name] = kind.target
        elif isinstance(kind, DirectoryNode):
            found.update(
                (f"{entry.name}/{path}", data) for path, data in listed(catalogue, entry.cid).items()
            )
        elif isinstance(kind, HamtNode):
            found[entry.name] = "shards"
        else:
            found[entry.name] = bought(catalogue, entry.cid)
    return found


def block_count(catalogue: Catalogue, cid: Cid) -> int:
    """Blocks of a tree, each as often as it is linked."""
    block = block_of(catalogue, cid.raw)
    assert block is not None
    node = read_node(cid.codec, block)
    assert isinstance(node, FileNode)
    return 1 + sum(block_count(catalogue, Cid.from_bytes(child.cid)) for child in node.children)


def file_blocks(catalogue: Catalogue, cid: Cid) -> list[FileBlock]:
    """Places of a file's leaves."""
    place = catalogue.find(cid.multihash)
    if isinstance(place, FileBlock):
        return [place]
    assert place is not None
    node = read_node(cid.codec, read_place(place))
    assert isinstance(node, FileNode)
    children = (Cid.from_bytes(child.cid) for child in node.children)
    return [place for child in children for place in file_blocks(catalogue, child)]
