"""What is sold is found block by block, as `ipfs add` cuts it, without a copy of its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import GoodState
from fastmarket.content.importing import GoodEnded, ImportProgress, PathRefused
from fastmarket.content.place import FileBlock, InlineBlock
from fastmarket.content.records import GoodPut
from fastmarket.directories import hashed_directory
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, new_cidv0
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.hashing import cid_of_file
from tests.conftest import Run
from tests.content.shop import (
    PRICE,
    Shop,
    block_count,
    block_of,
    bought,
    file_blocks,
    listed,
    shop,
)

CHUNK = UNIXFS_V0_2015.chunk_bytes
SMALL_CHUNKS = UNIXFS_V0_2015.with_(chunk_bytes=4096, links_per_node=3)
PROFILES = [UNIXFS_V0_2015, UNIXFS_V1_2025, UNIXFS_V0_2015.with_(raw_leaves=True), SMALL_CHUNKS]
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17, 5 << 20]


def written(path: Path, size: int, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Random(seed).randbytes(size))
    return path


def goods_paths(store: Shop) -> list[str]:
    return [os.path.relpath(good.path, store.files) for good in store.catalogue.goods()]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_found_block_by_block(
    tmp_path: Path, run: Run[None], size: int, profile: CidProfile
) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file", size)
            good = await store.sold(path, profile)
            assert good.cid == cid_of_file(path, profile=profile)
            assert bought(store.catalogue, good.cid) == path.read_bytes()
            assert (good.size, good.blocks) == (size, block_count(store.catalogue, good.cid))
            assert (good.name, good.path, good.price_per_mb) == ("file", str(path), PRICE)
            assert (good.user_id, good.user_name, good.state) == (b"me", "Me", GoodState.SELLING)
            assert store.catalogue.goods() == (good,) == store.catalogue.goods_of(good.cid.multihash)
            leaves = file_blocks(store.catalogue, good.cid)
            assert [leaf.offset for leaf in leaves] == [*range(0, max(size, 1), profile.chunk_bytes)]

    run(main())


def test_the_directory_of_the_node_holds_no_bytes_of_a_file(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = store.files / "file"
            path.write_bytes(os.urandom(32 << 20))
            await store.sold(path)
        assert sum(one.stat().st_size for one in (tmp_path / "data").rglob("*")) < 1 << 20

    run(main())


def test_it_is_found_after_a_restart(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file", 3 * CHUNK)
            good = await store.sold(path, watched=True)
            orders = store.catalogue.orders()
        with shop(tmp_path) as store:
            assert store.catalogue.goods() == (good,)
            assert store.catalogue.orders() == orders == [(store.order(path, watched=True), True)]
            assert good.cid is not None
            assert bought(store.catalogue, good.cid) == path.read_bytes()

    run(main())


def test_without_a_data_directory_it_lasts_as_long_as_it_is_open(tmp_path: Path) -> None:
    catalogue = Catalogue(None, ContentConfig())
    directory = catalogue.scratch.parent
    assert directory.exists()
    assert catalogue.find(new_cidv0(b"").multihash) is None
    catalogue.close()
    assert not directory.exists()


def test_what_is_not_sold_is_not_found(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            good = await store.sold(written(store.files / "file", 2 * CHUNK))
            assert good.cid is not None
            sold = good.cid.multihash
            assert isinstance(store.catalogue.find(sold), InlineBlock)
            # A digest that begins as one that is sold, other lengths, other hash functions.
            for other in (sold[:-1] + bytes([sold[-1] ^ 1]), sold[:-1], sold + b"\0", b"", b"\x12"):
                assert store.catalogue.find(other) is None
                assert store.catalogue.read(other) is None
            assert store.catalogue.find(b"\x1e" + sold[1:]) is None
            assert store.catalogue.goods_of(b"\x1e" + sold[1:]) == ()

    run(main())


def test_what_is_not_sold_costs_no_disk(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            await store.sold(written(store.files / "file", 2 * CHUNK))
        with shop(tmp_path) as store:
            index = store.catalogue.index
            others = [b"\x12\x20" + os.urandom(32) for _ in range(1000)]
            others = [other for other in others if not index.may_have(other)]
            assert len(others) > 900
            asked = []
            store.catalogue.database.reader.set_trace_callback(asked.append)
            for other in others:
                assert store.catalogue.find(other) is None
                assert store.catalogue.file_of(Cid(1, Codec.RAW, other)) is None
            assert asked == []

    run(main())


def test_a_whole_file_is_found_by_its_root_alone(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "file", 3 * CHUNK)
            directory = await store.sold(store.files / "dir")
            cid = cid_of_file(path)
            found = store.catalogue.file_of(cid)
            assert found is not None
            assert (found.size, found.name, found.file.path) == (3 * CHUNK, "file", str(path))
            with found.file.opened() as descriptor:
                assert os.pread(descriptor, 100, CHUNK) == path.read_bytes()[CHUNK : CHUNK + 100]
                assert found.file.is_unmoved(descriptor)
            # In any form of the same CID; not as raw bytes, which they are not.
            assert store.catalogue.file_of(Cid(1, Codec.DAG_PB, cid.multihash)) is not None
            assert store.catalogue.file_of(Cid(1, Codec.RAW, cid.multihash)) is None
            assert directory.cid is not None
            assert store.catalogue.file_of(directory.cid) is None
            (first, *_) = file_blocks(store.catalogue, cid)
            leaf = cid_of_file(written(tmp_path / "first", CHUNK))
            assert store.catalogue.find(leaf.multihash) == first
            assert store.catalogue.file_of(leaf) is None
            await store.sold(written(store.files / "raw", 10), UNIXFS_V1_2025)
            raw = cid_of_file(store.files / "raw", profile=UNIXFS_V1_2025)
            assert store.catalogue.file_of(raw) is not None
            assert store.catalogue.file_of(Cid(1, Codec.DAG_PB, raw.multihash)) is None

    run(main())


def tree(root: Path) -> None:
    """With an empty directory, links and hidden entries."""
    written(root / "a", 10)
    written(root / "b" / "big", 2 * CHUNK + 1)
    written(root / "b" / "again", 2 * CHUNK + 1)
    (root / "b" / "empty").mkdir()
    written(root / "ü.txt", 0)
    written(root / ".hidden" / "x", 3)
    written(root / ".x", 3)
    (root / "link").symlink_to("../../../outside")
    (root / "dangling").symlink_to("/nowhere")


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_directory_is_one_content(tmp_path: Path, run: Run[None], profile: CidProfile) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            tree(root)
            good = await store.sold(root, profile)
            hashed = hashed_directory(root, profile=profile)
            assert (good.cid, good.size) == (hashed.cid, hashed.size)
            assert good.is_directory
            big = (root / "b" / "big").read_bytes()
            assert listed(store.catalogue, hashed.cid) == {
                "a": (root / "a").read_bytes(),
                "b/big": big,
                "b/again": big,
                "ü.txt": b"",
                "link": "../../../outside",
                "dangling": "/nowhere",
            }

    run(main())


def test_a_large_directory_is_cut_into_shards(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            root.mkdir()
            for number in range(3000):
                (root / f"{number:0100}").write_bytes(number.to_bytes(4, "big"))
            good = await store.sold(root)
            hashed = hashed_directory(root)
            assert (good.cid, good.size) == (hashed.cid, 12_000)
            assert block_of(store.catalogue, hashed.cid.raw) is not None
            assert store.rows("nodes") > 1
            assert store.rows("blocks") == store.rows("nodes") + 3000 == good.blocks

    run(main())


def test_each_file_is_a_content_of_its_own(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            tree(root)
            events = await store.sell(root, each_file=True)
            puts = {event.good.path: event.good for event in events if isinstance(event, GoodPut)}
            files = [".hidden/x", ".x", "a", "b/again", "b/big", "ü.txt"]
            assert sorted(puts) == [str(root / name) for name in files]
            assert goods_paths(store) == [f"dir/{name}" for name in files]
            for name in files:
                good = puts[str(root / name)]
                assert good.cid == cid_of_file(good.path)
                assert bought(store.catalogue, good.cid) == (root / name).read_bytes()

    run(main())


def test_the_same_order_again_finds_what_is_new_changed_or_gone(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            for name in "abc":
                written(root / name, 10, ord(name))
            first = {event.good.name: event.good for event in await store.sell(root, each_file=True)}
            again = await store.sell(root, each_file=True)
            assert [event.good for event in again] == list(first.values())
            (root / "a").unlink()
            written(root / "b", 20)
            written(root / "d", 5)
            events = await store.sell(root, each_file=True)
            puts = {event.good.name: event for event in events if isinstance(event, GoodPut)}
            assert list(puts) == ["b", "c", "d"]
            assert puts["c"] == GoodPut(first["c"], None)
            assert puts["b"].before is not None
            assert puts["b"].before.cid == first["b"].cid
            assert [event for event in events if isinstance(event, GoodEnded)] == [GoodEnded(first["a"])]
            for gone in ("a", "b"):
                assert store.catalogue.find(first[gone].cid.multihash) is None
            assert goods_paths(store) == ["dir/b", "dir/c", "dir/d"]

    run(main())


def test_a_directory_whose_files_changed_is_another_content(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            tree(root)
            before = await store.sold(root)
            (same,) = await store.sell(root)
            assert same == GoodPut(before, None)
            written(root / "new", 10, 9)
            (put,) = await store.sell(root)
            assert isinstance(put, GoodPut)
            assert put.before == before
            assert put.good.cid == hashed_directory(root).cid
            assert before.cid is not None
            assert store.catalogue.find(before.cid.multihash) is None
            store.look()
            assert store.rows("nodes") == 7  # dir, b, b/empty, big, again, two links

    run(main())


def test_what_is_no_longer_sold_is_not_found(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            written(store.files / "dir" / "a", 3 * CHUNK)
            written(store.files / "dir" / "b", 100)
            good = await store.sold(store.files / "dir" / "a")
            directory = await store.sold(store.files / "dir")
            assert good.cid is not None
            assert directory.cid is not None
            assert store.catalogue.remove(multihash=directory.cid.multihash) == [directory]
            assert store.catalogue.find(directory.cid.multihash) is None
            assert bought(store.catalogue, good.cid) == (store.files / "dir" / "a").read_bytes()
            assert store.catalogue.remove(path=good.path) == [good]
            assert store.catalogue.find(good.cid.multihash) is None
            assert store.catalogue.file_of(good.cid) is None
            assert store.catalogue.remove(path=good.path) == []
            store.look()
            tables = ("goods", "orders", "files", "members", "blocks", "nodes", "imports", "dropped")
            assert {table: store.rows(table) for table in tables} == dict.fromkeys(tables, 0)

    run(main())


def test_a_path_ends_the_sale_of_all_that_was_sold_by_it(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for name in "abc":
                written(store.files / "dir" / name, 10, ord(name))
            events = await store.sell(store.files / "dir", each_file=True, watched=True)
            goods = [event.good for event in events if isinstance(event, GoodPut)]
            with pytest.raises(CallerFault, match="which is followed"):
                store.catalogue.remove(path=goods[0].path)
            assert len(store.catalogue.goods()) == 3
            assert store.catalogue.remove(path=str(store.files / "dir")) == goods
            assert store.catalogue.orders() == []

    run(main())


def test_files_alike_are_served_as_long_as_one_is_there(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            paths = [written(store.files / name, 2 * CHUNK) for name in ("a", "b")]
            goods = [await store.sold(path) for path in paths]
            cid = goods[0].cid
            assert cid == goods[1].cid
            assert cid is not None
            assert store.catalogue.goods_of(cid.multihash) == tuple(goods)
            for path in paths:
                data = path.read_bytes()
                assert bought(store.catalogue, cid) == data
                path.unlink()
            assert store.catalogue.find(cid.multihash) is None

    run(main())


def test_a_second_order_takes_the_place_of_the_first(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            written(root / "a", 10)
            await store.sell(root, each_file=True)
            events = await store.sell(root)
            assert [type(event) for event in events] == [GoodPut, GoodEnded]
            assert goods_paths(store) == ["dir"]
            # Under another profile, it is another content, sold beside it.
            await store.sell(root, UNIXFS_V1_2025)
            assert goods_paths(store) == ["dir", "dir"]

    run(main())


def test_goods_come_in_pages(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for number in range(25):
                written(store.files / "dir" / f"{number:02}", 1 + number)
            await store.sell(store.files / "dir", each_file=True)
            found, after = [], None
            while page := store.catalogue.goods(after, 7):
                assert len(page) <= 7
                found += [good.name for good in page]
                after = (page[-1].path, page[-1].id)
            assert found == [f"{number:02}" for number in range(25)]
            assert store.catalogue.count() == 25

    run(main())


def test_what_cannot_be_read_is_left_out_alone(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            written(root / "a", 10)
            os.mkfifo(root / "pipe")
            os.mkdir(os.fsencode(root) + b"/\xff")
            events = await store.sell(root)
            refused = [event for event in events if isinstance(event, PathRefused)]
            assert [event.reason for event in refused] == ["is not a regular file", "the name is not UTF-8"]
            (put,) = (event for event in events if isinstance(event, GoodPut))
            assert put.good.cid is not None
            assert list(listed(store.catalogue, put.good.cid)) == ["a"]

    run(main())


Broken = Callable[[Path], Path]
BAD_PATHS: dict[str, Broken] = {
    "there is none": lambda files: files / "none",
    "a pipe": lambda files: (os.mkfifo(files / "pipe"), files / "pipe")[1],
    "a link": lambda files: ((files / "link").symlink_to("/etc/hostname"), files / "link")[1],
}


@pytest.mark.parametrize("kind", BAD_PATHS)
def test_a_path_that_cannot_be_sold_leaves_nothing(tmp_path: Path, run: Run[None], kind: str) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = BAD_PATHS[kind](store.files)
            with pytest.raises(CallerFault, match=str(path)):
                await store.sell(path)
            assert store.catalogue.goods() == ()
            assert store.catalogue.orders() == []

    run(main())


def test_a_store_that_is_full_says_so(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path, ContentConfig(max_goods=1)) as store:
            await store.sold(written(store.files / "a", 1))
            with pytest.raises(CallerFault, match="1 contents are sold already"):
                await store.sell(written(store.files / "b", 1))

    run(main())


@pytest.mark.parametrize(
    ("config", "why"),
    [(ContentConfig(max_files_per_good=2), "more than 2 files"), (ContentConfig(max_depth=1), "")],
)
def test_a_directory_has_bounds(tmp_path: Path, run: Run[None], config: ContentConfig, why: str) -> None:
    async def main() -> None:
        with shop(tmp_path, config) as store:
            for name in ("a", "b", "c/d/e", "f", "g"):
                written(store.files / "dir" / name, 1)
            if why:
                with pytest.raises(CallerFault, match=why):
                    await store.sell(store.files / "dir")
                assert store.catalogue.goods() == ()
            else:
                refused, put = await store.sell(store.files / "dir")
                assert isinstance(refused, PathRefused)
                assert refused.path.endswith("c/d")
                assert isinstance(put, GoodPut)

    run(main())


def test_tiny_chunks_are_not_sold(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "a", 100)
            with pytest.raises(CallerFault, match="less than 4096 bytes"):
                await store.sell(path, UNIXFS_V0_2015.with_(chunk_bytes=16))

    run(main())


def test_progress_is_of_all_files(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for name, size in (("a", 10), ("b/c", 3 * CHUNK), ("b/d", 0)):
                written(store.files / "dir" / name, size)
            order = store.order(store.files / "dir")
            events = [event async for event in store.importer.sell(order)]
            shown = [event for event in events if isinstance(event, ImportProgress)]
            assert {event.total for event in shown} == {10 + 3 * CHUNK}
            assert [event.done for event in shown] == sorted(event.done for event in shown)

    run(main())


def test_a_leaf_is_in_the_file(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            good = await store.sold(written(store.files / "file", 100))
            assert good.cid is not None
            place = store.catalogue.find(good.cid.multihash)
            assert isinstance(place, FileBlock)
            assert (place.offset, place.length) == (0, 100)

    run(main())
