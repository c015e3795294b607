"""A file that is not the one that was imported is never served: not a byte, by any way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.goods import Good, GoodState
from fastmarket.content.importing import PathRefused
from fastmarket.content.place import FileBlock, FileMoved, read_place
from fastmarket.content.records import GoodPut
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from fastmarket.hashing import cid_of_file
from tests.conftest import Run
from tests.content.shop import Shop, bought, file_blocks, shop

CHUNK = UNIXFS_V0_2015.chunk_bytes


def written(path: Path, size: int = 3 * CHUNK, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Random(seed).randbytes(size))
    return path


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(CHUNK + 5)
        byte = file.read(1)
        file.seek(CHUNK + 5)
        file.write(bytes([byte[0] ^ 1]))


def overwrite_with_old_mtime(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace_by_copy(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-1] + b"x")
    other.replace(path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


CHANGES: dict[str, tuple[Callable[[Path], object], GoodState]] = {
    "overwritten": (overwrite, GoodState.CHANGED),
    "overwritten, with its old mtime": (overwrite_with_old_mtime, GoodState.CHANGED),
    "grown": (append, GoodState.CHANGED),
    "cut": (lambda path: os.truncate(path, CHUNK), GoodState.CHANGED),
    "replaced by another": (replace_by_copy, GoodState.CHANGED),
    "replaced by a link to itself": (replace_by_link, GoodState.CHANGED),
    "replaced by a directory": (replace_by_directory, GoodState.CHANGED),
    "deleted": (Path.unlink, GoodState.GONE),
    "in a directory that was renamed": (remove_directory, GoodState.GONE),
}
by_change = pytest.mark.parametrize("change", CHANGES)


def multihashes(store: Shop, good: Good) -> list[bytes]:
    assert good.cid is not None
    with store.catalogue.database.reading() as connection:
        digests = connection.execute("SELECT digest FROM blocks").fetchall()
    return [b"\x12\x20" + digest for (digest,) in digests]


@by_change
@pytest.mark.parametrize("kept_open", [True, False])
def test_nothing_of_it_is_found(
    tmp_path: Path, run: Run[None], caplog: pytest.LogCaptureFixture, change: str, kept_open: bool
) -> None:
    act, state = CHANGES[change]

    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "file")
            good = await store.sold(path)
            assert good.cid is not None
            if kept_open:
                bought(store.catalogue, good.cid)
            blocks = multihashes(store, good)
            assert len(blocks) == 4
            act(path)
            for block in blocks:
                assert store.catalogue.find(block) is None
                assert store.catalogue.read(block) is None
            assert store.catalogue.file_of(good.cid) is None
            assert store.moved.is_set()
            # Nobody knows yet what it is.
            assert [one.state for one in store.catalogue.goods()] == [GoodState.IMPORTING]
            assert [(one.cid, one.state) for one in store.look()] == [(good.cid, state)]
            assert [one.state for one in store.catalogue.goods()] == [state]
            assert [store.catalogue.find(block) for block in blocks] == [None] * 4
            # It is told once.
            assert store.look(all_files=True) == []
        with shop(tmp_path) as store:
            assert store.look(all_files=True) == []
            assert [store.catalogue.find(block) for block in blocks] == [None] * 4

    with caplog.at_level(logging.WARNING):
        run(main())
    assert len(caplog.records) == 1
    assert str(tmp_path) in caplog.text


@by_change
def test_it_is_seen_without_anybody_asking(tmp_path: Path, run: Run[None], change: str) -> None:
    act, state = CHANGES[change]

    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "file")
            good = await store.sold(path)
            act(path)
            assert [(one.cid, one.state) for one in store.look(all_files=True)] == [(good.cid, state)]

    run(main())


def test_what_had_changed_is_told_again_after_a_restart(tmp_path: Path, run: Run[None]) -> None:
    """The run that saw it may have ended before the offer was withdrawn."""

    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            await store.sold(written(store.files / "other", seed=2))
            overwrite(path)
            assert len(store.look(all_files=True)) == 1
        with shop(tmp_path) as store:
            changes = store.keeper.changes()
            assert [(one.cid, one.state) for one in await anext(changes)] == [(good.cid, GoodState.CHANGED)]
            await changes.aclose()

    run(main())


def test_changes_come_by_themselves(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path, ContentConfig(look_s=3600.0)) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            assert good.cid is not None
            other = await store.sold(written(store.files / "other", seed=2))
            assert other.cid is not None
            changes = store.keeper.changes()
            first = asyncio.ensure_future(anext(changes))
            path.unlink()
            # At the start, all are looked at; or the question is what shows it.
            store.catalogue.find(good.cid.multihash)
            assert [(one.cid, one.state) for one in await first] == [(good.cid, GoodState.GONE)]
            second = asyncio.ensure_future(anext(changes))
            overwrite(store.files / "other")
            while not store.moved.is_set() and not second.done():
                store.catalogue.find(other.cid.multihash)
                await asyncio.sleep(0)
            assert [(one.cid, one.state) for one in await second] == [(other.cid, GoodState.CHANGED)]
            await changes.aclose()

    run(main())


@pytest.mark.parametrize(
    "touch", [os.utime, lambda path: path.chmod(0o600), lambda path: append_and_cut(path)]
)
def test_other_times_alone_end_no_sale(
    tmp_path: Path, run: Run[None], touch: Callable[[Path], object]
) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            assert good.cid is not None
            touch(path)
            # Not a byte before it was read again.
            assert store.catalogue.find(good.cid.multihash) is None
            assert store.look() == []
            assert bought(store.catalogue, good.cid) == path.read_bytes()
            assert store.look(all_files=True) == []

    run(main())


def append_and_cut(path: Path) -> None:
    size = path.stat().st_size
    append(path)
    os.truncate(path, size)


def test_what_is_put_back_is_sold_again(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            assert good.cid is not None
            data = path.read_bytes()
            kept = path.rename(path.with_name("kept"))
            assert [one.state for one in store.look(all_files=True)] == [GoodState.GONE]
            kept.rename(path)  # a disk that is mounted again: the same file
            assert [one.state for one in store.look(all_files=True)] == [GoodState.SELLING]
            assert bought(store.catalogue, good.cid) == data
            overwrite(path)
            assert [one.state for one in store.look(all_files=True)] == [GoodState.CHANGED]
            path.write_bytes(data)  # from a backup: the same bytes
            assert [one.state for one in store.look(all_files=True)] == [GoodState.SELLING]
            assert bought(store.catalogue, good.cid) == data

    run(main())


def test_swapped_and_swapped_back_it_is_served(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            assert good.cid is not None
            kept = path.rename(path.with_name("kept"))
            assert store.catalogue.find(good.cid.multihash) is None
            kept.rename(path)
            assert store.look() == []
            assert bought(store.catalogue, good.cid) == path.read_bytes()

    run(main())


@by_change
def test_a_change_between_question_and_bytes_is_seen(tmp_path: Path, run: Run[None], change: str) -> None:
    act, _ = CHANGES[change]

    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "file")
            good = await store.sold(path)
            assert good.cid is not None
            data = path.read_bytes()
            places = file_blocks(store.catalogue, good.cid)
            act(path)
            for number, place in enumerate(places):
                try:
                    block = read_place(place)
                except FileMoved:
                    continue
                # Or it is what was imported, from the file as it was opened.
                assert data[number * CHUNK : (number + 1) * CHUNK] in block

    run(main())


def test_a_change_while_bytes_are_sent_is_seen(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "file")
            good = await store.sold(path)
            assert good.cid is not None
            sold = store.catalogue.file_of(good.cid)
            assert sold is not None
            with sold.file.opened() as descriptor:
                assert sold.file.is_unmoved(descriptor)
                overwrite(path)
                assert not sold.file.is_unmoved(descriptor)
                with pytest.raises(FileMoved), sold.file.opened():
                    pass
                os.pread(descriptor, 1, 0)  # still open

    run(main())


def test_descriptors_are_bounded_and_closed(tmp_path: Path, run: Run[None]) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        with shop(tmp_path, ContentConfig(max_open_files=3)) as store:
            cids = [
                (await store.sold(written(store.files / str(number), 10, number))).cid for number in range(10)
            ]
            before = open_now()
            places = [store.catalogue.find(cid.multihash) for cid in cids if cid]
            for place in places:
                assert isinstance(place, FileBlock)
                with place.file.opened() as first, place.file.opened() as second:
                    assert first == second
            assert open_now() == before + 3
            held = places[0]
            assert isinstance(held, FileBlock)
            with held.file.opened() as descriptor:
                for place in places[1:]:
                    assert place is not None
                    read_place(place)
                # Evicted while it is read from: open until that ends.
                assert len(os.pread(descriptor, 10, 0)) == 10
                assert open_now() == before + 4
            assert open_now() == before + 3

    run(main())


def test_a_directory_is_not_sold_when_a_file_in_it_changed(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for name in "ab":
                written(store.files / "dir" / name, seed=ord(name))
            alone = await store.sold(store.files / "dir" / "a")
            good = await store.sold(store.files / "dir")
            assert good.cid is not None
            assert alone.cid is not None
            overwrite(store.files / "dir" / "b")
            assert [(one.cid, one.state) for one in store.look(all_files=True)] == [
                (good.cid, GoodState.CHANGED)
            ]
            assert store.catalogue.find(good.cid.multihash) is None
            assert bought(store.catalogue, alone.cid) == (store.files / "dir" / "a").read_bytes()

    run(main())


def test_a_new_import_of_a_changed_file_is_told_to_what_else_it_is_in(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "a")
            good = await store.sold(path)
            directory = await store.sold(store.files / "dir")
            overwrite(path)
            (put,) = await store.sell(path)
            assert isinstance(put, GoodPut)
            assert put.before is not None
            assert (put.before.cid, put.good.cid) == (good.cid, cid_of_file(path))
            told = {one.id: one.state for one in store.look()}
            assert told[directory.id] is GoodState.CHANGED
            os.utime(path)
            (put,) = await store.sell(path)
            assert put == GoodPut(put.good, None)
            assert [one.id for one in store.look()] == []

    run(main())


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025], ids=str)
@pytest.mark.parametrize("change", ["grown", "overwritten", "cut"])
def test_a_file_that_changes_while_it_is_imported_is_refused_alone(
    tmp_path: Path, run: Run[None], change: str, profile
) -> None:
    act, _ = CHANGES[change]

    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "a", 40 << 20)
            written(store.files / "dir" / "b")
            changed = []

            def on_bytes(_count: int, read: str) -> None:
                if read == str(path) and not changed:
                    changed.append(act(path))

            files = store.importer.files
            with pytest.raises(CallerFault, match=r"changed while|ends"):
                files.record(str(path), profile, on_bytes)
            written(path, 40 << 20)
            changed.clear()
            refused: list[str] = []
            found = files.records(
                [str(path), str(path.with_name("b"))], profile, on_bytes, lambda name, _: refused.append(name)
            )
            assert refused == [str(path)]
            assert list(found) == [str(path.with_name("b"))]
            assert list((tmp_path / "data" / "content").iterdir()) == []
            # As it is now, it can be.
            (put,) = await store.sell(path, profile)
            assert isinstance(put, GoodPut)
            assert put.good.cid == cid_of_file(path, profile=profile)

    run(main())


def test_a_file_that_is_written_to_all_the_time_is_refused(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            path = written(store.files / "dir" / "a", 10)
            written(store.files / "dir" / "b", 10)
            # A writer of another machine whose clock is right: it changed just now, each time.
            stop = asyncio.Event()

            async def write() -> None:
                while not stop.is_set():
                    os.utime(path)
                    await asyncio.sleep(0)

            writer = asyncio.create_task(write())
            events = await store.sell(store.files / "dir", each_file=True)
            stop.set()
            await writer
            refused = [event for event in events if isinstance(event, PathRefused)]
            # Nearly always; a thread that is not scheduled for 10 ms finds it settled.
            assert len(refused) <= 1
            assert all("a" in event.path for event in refused)
            assert {event.good.name for event in events if isinstance(event, GoodPut)} >= {"b"}

    run(main())


def test_roots_of_other_forms_are_the_same_content(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            good = await store.sold(written(store.files / "a"))
            assert good.cid is not None
            other = Cid(1, good.cid.codec, good.cid.multihash)
            assert bought(store.catalogue, other) == (store.files / "a").read_bytes()

    run(main())
