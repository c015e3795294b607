"""SQLite on a virtual disk: what it keeps through faults and power cuts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from fastmarket.errors import StorageFault
from fastmarket.storage.database import OfferDatabase, Row
from tests.vopr.disk import SECTOR_BYTES, DiskFault, Fault, Inode, VirtualDisk
from tests.vopr.world import the_vfs


def row(number: int) -> Row:
    return (number.to_bytes(16, "big"), 1, 0, 1, b"%d" % number * 100)


class Computer:
    """A directory on a virtual disk, and the database in it."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.directory = directory
        self.disk = VirtualDisk(Random(seed), lambda: None)
        the_vfs().disks[str(directory)] = self.disk
        self.database = OfferDatabase(directory)

    def start_again(self) -> None:
        """After a power cut, which the process did not survive."""
        if not self.disk.is_off:
            self.disk.cut_power()
        self.database._connection.close()
        the_vfs().settle_shadows(str(self.directory))
        self.disk.start()
        self.database = OfferDatabase(self.directory)

    def numbers(self) -> set[int]:
        rows = self.database._connection.execute("SELECT key FROM offers")
        return {int.from_bytes(key, "big") for (key,) in rows}


@pytest.fixture
def computer(tmp_path: Path) -> Iterator[Computer]:
    vfs = the_vfs()
    with vfs.mounted():
        made = Computer(tmp_path)
        yield made
        made.database._connection.close()
    vfs.disks.clear()


def test_files_are_on_the_disk_alone(computer: Computer) -> None:
    computer.database.put([row(1)])
    assert {"offers.db", "offers.db-wal"} <= computer.disk.names.keys()
    assert all(path.stat().st_size == 0 for path in computer.directory.iterdir())


def test_other_directories_are_where_they_are(computer: Computer) -> None:
    (computer.directory / "real").mkdir()
    path = computer.directory / "real" / "real.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
    assert path.stat().st_size


def test_every_point_of_a_commit(computer: Computer) -> None:
    """What was committed stays, and what was under way is there as a whole or not at all."""
    done: set[int] = set()
    for number in range(1, 200):
        computer.disk.cut_after = number % 23
        pair = {2 * number, 2 * number + 1}
        try:
            computer.database.put([row(one) for one in pair])
        except StorageFault:
            computer.start_again()
            found = computer.numbers()
            assert found in (done, done | pair)
            done = found
        else:
            done |= pair
    assert len(done) > 100
    assert computer.database._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("kind", [Fault.FULL, Fault.WRITE, Fault.SYNC])
def test_a_fault_is_reported_and_harmless(computer: Computer, kind: Fault) -> None:
    computer.database._connection.execute("PRAGMA wal_autocheckpoint=4")
    done: set[int] = set()
    failed = 0
    for number in range(300):
        computer.disk.refusing = {kind: 0.2} if number % 3 else {}
        try:
            computer.database.put([row(number)])
            done.add(number)
        except StorageFault:
            failed += 1
    computer.disk.heal()
    assert failed > (2 if kind is Fault.FULL else 20)  # the log grows seldom
    assert done <= computer.numbers()
    computer.start_again()
    assert done <= computer.numbers()


def test_what_is_not_synced_is_lost(computer: Computer) -> None:
    computer.database._connection.execute("PRAGMA synchronous=OFF")
    lost = 0
    for number in range(30):
        computer.database.put([row(number)])
        computer.start_again()
        computer.database._connection.execute("PRAGMA synchronous=OFF")
        lost += number not in computer.numbers()
    assert 3 < lost < 30


def test_a_process_that_ends_leaves_what_it_wrote(computer: Computer) -> None:
    computer.database.put([row(1)])
    computer.disk.end_process()
    computer.database._connection.close()
    computer.database = OfferDatabase(computer.directory)
    assert computer.numbers() == {1}


@pytest.mark.parametrize("is_mended_at_once", [False, True])
def test_what_a_start_found_survives_though_its_sync_had_failed(
    computer: Computer, is_mended_at_once: bool
) -> None:
    computer.database.put([row(1)])
    computer.disk.refusing = {Fault.SYNC: 1.0}
    for number in range(2, 20):
        with suppress(StorageFault):
            computer.database.put([row(number)])
    computer.disk.end_process()
    computer.database._connection.close()
    if is_mended_at_once:
        computer.disk.heal()
    computer.database = OfferDatabase(computer.directory)
    found = computer.numbers()
    assert found >= {1}
    computer.disk.heal()
    computer.database.put([row(100)])
    computer.start_again()
    assert computer.numbers() == found | {100}


def test_a_file_written_over_is_noticed(computer: Computer) -> None:
    """`storage.watch` works on shadows, too."""
    copy = bytes(computer.disk.names["offers.db"].data)
    for number in range(3):
        computer.database.put([row(number)])
    computer.database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    computer.database.check()
    assert copy != bytes(computer.disk.names["offers.db"].data)
    inode = computer.disk.names["offers.db"]
    inode.data[:] = copy
    path = computer.directory / "offers.db"
    path.touch()
    with pytest.raises(StorageFault, match="overwritten"):
        computer.database.put([row(9)])


# --- the disk itself


def test_sectors_are_whole() -> None:
    kinds = set()
    for seed in range(200):
        inode = Inode()
        inode.write(0, b"a" * 4 * SECTOR_BYTES)
        inode.sync()
        inode.write(SECTOR_BYTES // 2, b"b" * 2 * SECTOR_BYTES)
        inode.cut_power(Random(seed))
        half, data = SECTOR_BYTES // 2, bytes(inode.data)
        ends = (half, SECTOR_BYTES, 2 * SECTOR_BYTES, 2 * SECTOR_BYTES + half)
        parts = [data[begin:end] for begin, end in pairwise(ends)]
        assert all(len(set(part)) == 1 for part in parts)
        assert data[:half] == b"a" * half
        assert data[2 * SECTOR_BYTES + half :] == b"a" * (SECTOR_BYTES + half)
        kinds.add(tuple(part[:1] for part in parts))
    assert len(kinds) == 8


def test_names_come_back_in_order() -> None:
    kept = set()
    for seed in range(50):
        disk = VirtualDisk(Random(seed), lambda: None)
        for name in "abc":
            disk.open(name, create=True)
        disk.delete("a", sync=False)
        disk.cut_power()
        disk.start()
        kept.add("".join(sorted(disk.names)))
    assert kept == {"", "a", "ab", "abc", "bc"}


def test_a_failed_sync_may_lose_what_can_still_be_read() -> None:
    disk = VirtualDisk(Random(1), lambda: None)
    lost = 0
    for _ in range(50):
        inode = Inode()
        disk.write(inode, 0, b"x" * SECTOR_BYTES)
        disk.refusing = {Fault.SYNC: 1.0}
        with pytest.raises(DiskFault):
            disk.sync(inode)
        disk.heal()
        disk.sync(inode)  # which says that all is well
        assert inode.data == b"x" * SECTOR_BYTES
        inode.cut_power(Random(1))
        lost += inode.data != b"x" * SECTOR_BYTES
    assert 5 < lost < 45
