"""Much that is sold costs little memory, and no question longer than another."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from fastmarket.content.place import FileBlock
from fastmarket.content.records import FileRecord, GoodPut, NewGood
from fastmarket.content.stamp import FileStamp
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from tests.conftest import Run
from tests.content.shop import Shop, shop

CHUNK = UNIXFS_V0_2015.chunk_bytes
LEAVES_A_PART = 16
SEED = 5


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sold_by_index(store: Shop, path: Path, leaves: int) -> list[bytes]:
    """Sells a sparse file as if its leaves had random digests, by the same steps as an import. Returns some
    of their multihashes."""
    os.truncate(path, leaves * CHUNK)
    ledger, profile = store.catalogue.ledger, UNIXFS_V0_2015
    order = ledger.begin(store.order(path))
    stamp = FileStamp.of(path.stat())
    number, _ = ledger.reserve(str(path), str(profile), stamp)
    rows = store.importer.files.rows(number)
    importer = UnixfsImporter(profile, rows.add_node)
    random, some = Random(SEED), []
    for part in range(leaves // LEAVES_A_PART):
        digests = random.randbytes(32 * LEAVES_A_PART)
        importer.add_leaves(digests, LEAVES_A_PART * CHUNK)
        rows.add_leaves(digests)
        if part % 100 == 0:
            some.append(b"\x12\x20" + digests[:32])
    link = importer.finish_link()
    rows.settle(lambda: None)
    record = FileRecord(number, str(path), str(profile), stamp, link, rows.blocks)
    (record,) = ledger.put_files([(record, rows)])
    rows.discard()
    (put,) = ledger.put_goods(order, [NewGood(str(path), link, record.blocks, (record.id,))])
    ledger.finish(order, [put.good.id])
    return some


def test_many_blocks_cost_ten_bits_each(tmp_path: Path, run: Run[None]) -> None:
    leaves = 160_000

    async def main() -> None:
        with shop(tmp_path) as store:
            path = store.files / "file"
            path.touch()
            small = store.files / "small"
            small.write_text("small")
            await store.sold(small)
            before = resident_bytes()
            some = sold_by_index(store, path, leaves)
            # Of 4 million blocks 50 MB more: for some of them half of that, which is there once.
            assert resident_bytes() - before < 25e6
            for at, multihash in enumerate(some):
                place = store.catalogue.find(multihash)
                assert isinstance(place, FileBlock)
                assert place.offset == at * 100 * LEAVES_A_PART * CHUNK
            assert (
                sum(store.catalogue.index.may_have(b"\x12\x20" + os.urandom(32)) for _ in range(10_000)) < 300
            )
            # Deleted in steps, none of which takes long.
            store.catalogue.remove(path=str(path))
            assert store.catalogue.find(some[0]) is None
            steps = 0
            while store.catalogue.index.purge():
                steps += 1
            assert steps > leaves // 174 // 64
            assert store.rows("blocks") == 1

    run(main())


def test_holes_are_sold_in_little_memory(tmp_path: Path, run: Run[None]) -> None:
    size = 64 << 30

    async def main() -> None:
        with shop(tmp_path) as store:
            path = store.files / "file"
            path.touch()
            os.truncate(path, size)
            before = resident_bytes()
            good = await store.sold(path)
            assert resident_bytes() - before < 25e6
            assert good.size == size
            assert good.blocks > size // CHUNK
            # All leaves are one, and so are nearly all nodes.
            assert store.rows("blocks") < 20
            assert isinstance(good.cid, Cid)
            assert store.catalogue.find(good.cid.multihash) is not None

    run(main())


def test_many_small_files_are_sold_each_and_together(tmp_path: Path, run: Run[None]) -> None:
    count = 5000

    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            for number in range(count):
                path = root / str(number % 50) / str(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(number))
            events = await store.sell(root, each_file=True)
            assert len([event for event in events if isinstance(event, GoodPut)]) == count
            for event in events:
                assert isinstance(event, GoodPut)
                assert event.good.cid is not None
                data = store.catalogue.read(event.good.cid.multihash)
                assert data is not None
                assert event.good.name.encode() in data
            assert store.rows("files") == store.rows("members") == count
            (directory,) = (event for event in await store.sell(root) if isinstance(event, GoodPut))
            # The files were read once: the same ones are in the directory.
            assert store.rows("files") == store.rows("members") == count
            assert directory.good.size == sum(len(str(number)) for number in range(count))

    run(main())
