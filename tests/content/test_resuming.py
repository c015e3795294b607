"""An import that was killed goes on where it was, and what comes of it is the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content import leaves, tree_rows
from fastmarket.content.goods import GoodState
from fastmarket.content.importing import ImportProgress
from fastmarket.content.records import GoodPut
from fastmarket.directories import hashed_directory
from fastmarket.errors import CallerFault, StorageFault
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.hashing import cid_of_file
from tests.conftest import Run
from tests.content.shop import Shop, block_count, bought, shop

CHUNK = UNIXFS_V0_2015.chunk_bytes
MB = 1 << 20
SPARSE_BYTES = 40 << 30
"""Of holes: their leaves are noted faster than read, and still take longer than it takes to kill."""


def killed(directory: Path, path: Path, profile: CidProfile, *, each_file: bool = False, after: int) -> int:
    """Starts an import in a process, and kills it after so many bytes. Returns how many it said."""
    (directory / "files").mkdir(exist_ok=True)
    arguments = [str(directory), str(path), str(profile), "each" if each_file else "one", str(after)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.content.importing_process", *arguments], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert said, "it ended before it said anything"
    return int(said)


def read_so_far() -> int:
    """Bytes that this process read, as the kernel counts them."""
    text = Path("/proc/self/io").read_text()
    return int(text.partition("rchar: ")[2].split()[0])


def random_file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = Random(size)
    with path.open("wb") as file:
        for at in range(0, size, MB):
            file.write(random.randbytes(min(MB, size - at)))
    return path


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025], ids=str)
def test_it_goes_on_where_it_was_killed(tmp_path: Path, run: Run[None], profile: CidProfile) -> None:
    """Holes, and data behind them: if the holes came again, so would the time; if the data, the reading."""
    path = tmp_path / "files" / "file"
    random_file(path, 200 * MB)
    os.truncate(path, SPARSE_BYTES)
    with path.open("r+b") as file:
        file.seek(SPARSE_BYTES - 5)
        file.write(b"end")
    said = killed(tmp_path, path, profile, after=300 * MB)
    assert said < SPARSE_BYTES

    async def main() -> None:
        with shop(tmp_path) as store:
            (good,) = store.catalogue.goods()
            assert (good.state, good.cid, good.path) == (GoodState.IMPORTING, None, str(path))
            assert store.catalogue.orders()[0][1] is False
            before = read_so_far()
            order = store.catalogue.orders()[0][0]
            events = [event async for event in store.importer.sell(order)]
            # At most the last step once more, beside the log and what SQLite reads.
            assert read_so_far() - before < 64 * MB + 64 * MB + 30 * MB
            (put,) = (event for event in events if isinstance(event, GoodPut))
            assert put.good.cid is not None
            assert put.good.cid == cid_of_sparse(path, profile)
            assert store.catalogue.orders() == [(order, True)]
            assert list((tmp_path / "data" / "content").iterdir()) == []
            assert store.catalogue.find(put.good.cid.multihash) is not None

    run(main())


def cid_of_sparse(path: Path, profile: CidProfile) -> object:
    """Like `cid_of_file`, which reads holes, with the leaves of a fresh import."""
    importer = UnixfsImporter(profile)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for length, digests in leaves.leaf_parts(descriptor, str(path), 0, path.stat().st_size, profile, 1):
            importer.add_leaves(digests, length)
    finally:
        os.close(descriptor)
    return importer.finish()


def test_holes_have_the_leaves_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "HOLE_BYTES", 4 * MB)
    path = tmp_path / "file"
    with path.open("wb") as file:
        for at in (0, 5 * MB, 6 * MB, 30 * MB + 4096, 60 * MB):
            file.seek(at)
            file.write(b"data" * 3000)
        file.truncate(90 * MB + 1)
    for profile in (UNIXFS_V0_2015, UNIXFS_V1_2025):
        assert cid_of_sparse(path, profile) == cid_of_file(path, profile=profile)
    path.write_bytes(b"")
    os.truncate(path, 20 * MB)
    assert cid_of_sparse(path, UNIXFS_V0_2015) == cid_of_file(path)


def test_many_files_go_on_behind_those_that_were_noted(tmp_path: Path, run: Run[None]) -> None:
    root = tmp_path / "files" / "dir"
    root.mkdir(parents=True)
    for number in range(4000):
        (root / f"{number:04}").write_bytes(number.to_bytes(2, "big") * 20_000)
    said = killed(tmp_path, root, UNIXFS_V0_2015, each_file=True, after=10 * MB)

    async def main() -> None:
        with shop(tmp_path) as store:
            assert 0 < store.rows("files") < 4000
            before = read_so_far()
            events = [event async for event in store.importer.sell(store.order(root, each_file=True))]
            assert read_so_far() - before < 160 * MB - said + 30 * MB
            assert len([event for event in events if isinstance(event, GoodPut)]) == 4000
            assert store.rows("goods") == store.rows("files") == store.rows("members") == 4000
            assert store.rows("orders") == 1

    run(main())


@pytest.mark.parametrize("damage", ["cut", "overwritten", "appended", "emptied"])
def test_a_damaged_note_is_not_believed(tmp_path: Path, run: Run[None], damage: str) -> None:
    async def main() -> None:
        with shop(tmp_path, ContentConfig(import_step_bytes=1)) as store:
            path = random_file(store.files / "file", 50 * MB)
            await stopped(store, path, 20 * MB)
            (log,) = (tmp_path / "data" / "content").glob("*.leaves")
            data = bytearray(log.read_bytes())
            assert len(data) > 1000
            if damage == "cut":
                del data[-7:]
            elif damage == "overwritten":
                data[len(data) // 2] ^= 1
            elif damage == "appended":
                data += bytes(100)
            else:
                data.clear()
            log.write_bytes(data)
            good = await store.sold(path)
            assert good.cid == cid_of_file(path)
            assert bought(store.catalogue, good.cid) == path.read_bytes()

    run(main())


async def stopped(store: Shop, path: Path, after: int) -> None:
    """An import that ends in the middle, as at a closed generator."""

    class Enough(Exception):
        pass

    done = 0

    def on_bytes(count: int, _path: str) -> None:
        nonlocal done
        done += count
        if done > after:
            raise Enough

    store.catalogue.ledger.begin(store.order(path))
    with pytest.raises(Enough):
        await asyncio.to_thread(store.importer.files.record, str(path), UNIXFS_V0_2015, on_bytes)


def test_a_file_that_changed_meanwhile_starts_anew(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path, ContentConfig(import_step_bytes=1)) as store:
            path = random_file(store.files / "file", 50 * MB)
            await stopped(store, path, 20 * MB)
            with path.open("r+b") as file:
                file.write(b"changed")
            good = await store.sold(path)
            assert good.cid == cid_of_file(path)
            store.look()
            assert good.blocks == store.rows("blocks") == block_count(store.catalogue, good.cid)
            assert store.rows("imports") == store.rows("dropped") == 0

    run(main())


def test_a_closed_generator_stops_it_and_the_next_goes_on(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = store.files / "file"
            path.touch()
            os.truncate(path, SPARSE_BYTES)
            selling = store.importer.sell(store.order(path))
            async for event in selling:
                assert isinstance(event, ImportProgress)
                assert event.done < event.total
                break
            await selling.aclose()
            assert [good.state for good in store.catalogue.goods()] == [GoodState.IMPORTING]
            assert list((tmp_path / "data" / "content").glob("*.leaves")) != []
            assert list((tmp_path / "data" / "content").glob("*.rows")) == []
            again = store.importer.sell(store.order(path))
            await anext(again)
            # Whoever ends the sale has it all deleted, at whatever stage it is.
            store.catalogue.remove(path=str(path))
            with pytest.raises(CallerFault, match="ended while"):
                _ = [event async for event in again]
            store.look()
        with shop(tmp_path) as store:
            assert list((tmp_path / "data" / "content").iterdir()) == []
            tables = ("goods", "orders", "files", "blocks", "nodes", "imports", "dropped")
            assert {table: store.rows(table) for table in tables} == dict.fromkeys(tables, 0)

    run(main())


@pytest.mark.parametrize("most", [1, 7, 100])
def test_many_rows_are_written_by_way_of_the_disk(
    tmp_path: Path, run: Run[None], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(tree_rows, "MAX_ROWS", most)
    monkeypatch.setattr(tree_rows, "HEAP_BYTES", 100)
    monkeypatch.setattr(tree_rows, "MAX_NODE_BYTES", 2000)
    profile = UNIXFS_V0_2015.with_(chunk_bytes=4096, links_per_node=5)

    async def main() -> None:
        with shop(tmp_path) as store:
            path = random_file(store.files / "dir" / "file", 3 * MB + 5)
            good = await store.sold(path, profile)
            assert good.cid == cid_of_file(path, profile=profile)
            assert bought(store.catalogue, good.cid) == path.read_bytes()
            assert store.rows("blocks") == good.blocks == block_count(store.catalogue, good.cid)
            for number in range(100):
                (path.parent / str(number)).mkdir()
            directory = await store.sold(path.parent, profile)
            assert directory.cid == hashed_directory(path.parent, profile=profile).cid
            (same,) = await store.sell(path.parent, profile)
            assert same == GoodPut(directory, None)
            store.catalogue.remove(path=str(path.parent))
            store.catalogue.remove(path=str(path))
            store.look()
            assert (store.rows("blocks"), store.rows("nodes")) == (0, 0)
            assert list((tmp_path / "data" / "content").iterdir()) == []

    run(main())


def test_a_full_disk_keeps_what_is_there(
    tmp_path: Path, run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file size limit of this process is the disk's end."""
    import resource

    monkeypatch.setattr(tree_rows, "MAX_ROWS", 100)

    async def main() -> None:
        with shop(tmp_path, ContentConfig(import_step_bytes=1)) as store:
            path = random_file(store.files / "file", 60 * MB)
            before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
            try:
                with pytest.raises(StorageFault):
                    await store.sell(path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                signal.signal(signal.SIGXFSZ, before)
            good = await store.sold(path)
            assert bought(store.catalogue, good.cid) == path.read_bytes()

    run(main())
