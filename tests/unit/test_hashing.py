"""cid_of_file: the same CID for any number of threads, constant memory, faults that name the file."""

from __future__ import annotations

import os
import threading
from itertools import cycle
from pathlib import Path

import pytest

from fastmarket import hashed_parts, hashing
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.importer import cid_of_bytes
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from fastmarket.hashed_parts import PART_BYTES
from fastmarket.hashing import cid_of_file
from tests.reference import unixfs as twin

CHUNK_BYTES = UNIXFS_V0_2015.chunk_bytes
PAGE_BYTES = 4096
SIZES = [
    0,
    1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    PART_BYTES - 1,
    PART_BYTES,
    PART_BYTES + 1,
    3 * PART_BYTES + 12345,
]
ROW = bytes(i * 7 & 255 for i in range(65521))  # a prime length: no two chunks are alike


def write(path, size):
    path.write_bytes((ROW * (size // len(ROW) + 1))[:size])
    return path


@pytest.mark.parametrize("size", SIZES)
def test_any_number_of_threads(tmp_path, size):
    path = write(tmp_path / "file", size)
    expected = twin.import_file(path.read_bytes())
    for threads in (1, 2, 5, None):
        assert str(cid_of_file(path, threads=threads)) == expected


@pytest.mark.parametrize(("version", "raw"), [(0, None), (0, True), (1, None), (1, False)])
def test_options(tmp_path, version, raw):
    path = write(tmp_path / "file", PART_BYTES + 99)
    raw_leaves = version == 1 if raw is None else raw
    expected = twin.import_file(path.read_bytes(), version=version, raw=raw_leaves)
    assert str(cid_of_file(str(path), cid_version=version, raw_leaves=raw)) == expected


def test_progress_ends_at_the_size_and_comes_from_the_caller(tmp_path):
    path = write(tmp_path / "file", 3 * PART_BYTES + 5)
    seen = []
    cid_of_file(
        path, threads=2, progress=lambda done, total: seen.append((done, total, threading.get_ident()))
    )
    total = 3 * PART_BYTES + 5
    here = threading.get_ident()
    assert seen == [(min(n * PART_BYTES, total), total, here) for n in range(1, 5)]


def test_what_progress_raises_ends_the_work(tmp_path):
    path = write(tmp_path / "file", 8 * PART_BYTES)

    def refuse(done, total):
        raise BrokenPipeError("terminal gone")

    before = threading.active_count(), len(os.listdir("/dev/fd"))
    with pytest.raises(BrokenPipeError, match="terminal gone"):
        cid_of_file(path, threads=2, progress=refuse)
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before


def test_parts_in_hand_are_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "file", 40 * PART_BYTES)
    asked, taken, most = 0, 0, 0
    real = hashed_parts.leaf_digests

    def count(*arguments):
        nonlocal asked
        asked += 1
        return real(*arguments)

    def step(done, total):
        nonlocal taken, most
        most = max(most, asked - taken)
        taken += 1

    monkeypatch.setattr(hashed_parts, "leaf_digests", count)
    cid_of_file(path, threads=2, progress=step)
    assert taken == 40
    assert most <= 2 * hashed_parts.PARTS_AHEAD


def file_fault(path, **options):
    with pytest.raises(CallerFault) as caught:
        cid_of_file(path, **options)
    return caught.value.field, caught.value.reason


def test_faults_name_the_file(tmp_path):
    assert file_fault(tmp_path) == ("file", f"{tmp_path} is a directory")
    assert file_fault(tmp_path / "none") == ("file", f"{tmp_path / 'none'}: No such file or directory")
    assert file_fault(f"{tmp_path}/a\0b")[0] == "file"
    os.mkfifo(tmp_path / "pipe")
    assert file_fault(tmp_path / "pipe") == ("file", f"{tmp_path / 'pipe'} is not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path):
    path = write(tmp_path / "secret", 5)
    path.chmod(0)
    assert file_fault(path) == ("file", f"{path}: Permission denied")


def test_a_file_that_shrinks_meanwhile(tmp_path):
    path = write(tmp_path / "file", 30 * PART_BYTES)

    def truncate(done, total):
        os.truncate(path, PART_BYTES)

    for threads in (1, 2):
        write(path, 30 * PART_BYTES)
        assert "changed" in file_fault(path, threads=threads, progress=truncate)[1]


def overwritten(path):
    with open(path, "r+b") as file:
        file.write(b"HEAD")
        file.seek(-4, os.SEEK_END)
        file.write(b"TAIL")


def appended(path):
    with open(path, "ab") as file:
        file.write(b"more")


def shortened(path):
    os.truncate(path, PART_BYTES + 1)


def overwritten_under_the_old_time(path):
    old = os.stat(path)
    overwritten(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def put_in_its_place(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.replace(other, path)


CHANGES = [overwritten, appended, shortened, overwritten_under_the_old_time, put_in_its_place]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_has_no_cid(tmp_path, change, threads):
    path = write(tmp_path / "file", 8 * PART_BYTES)

    def halfway(done, total):
        if done == 4 * PART_BYTES:
            change(path)

    assert file_fault(path, threads=threads, progress=halfway) == (
        "file",
        f"{path} changed while it was being read",
    )
    assert str(cid_of_file(path, threads=threads)) == twin.import_file(path.read_bytes())


WRITES = 16  # to a file, until it begins with the first of them again


def written(size: int, count: int, byte: int) -> bytes:
    """A file whose other writes were of the other byte, after `count` writes of `byte`."""
    stride = size // WRITES
    piece = min(stride, PAGE_BYTES)
    return b"".join(
        bytes([byte if at < count else 3 - byte]) * piece + bytes(stride - piece) for at in range(WRITES)
    )


@pytest.mark.parametrize("size", [4096, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("alone", [True, False])
def test_a_file_that_is_written_to_all_the_time(tmp_path, size, alone):
    """What is told is the CID of one of the states that it had between two writes, or nothing.

    A write is within a page. The kernel copies a longer one page by page, or folio by folio, after it has set
    the file's times: a writer that has to wait for a processor in between leaves a state that stands still
    for so long, with times as old.
    """
    stride = size // WRITES
    path = tmp_path / "file"
    path.write_bytes(written(size, WRITES, 2))
    known = {twin.import_file(written(size, count, byte)) for byte in (1, 2) for count in range(WRITES + 1)}
    told, stop = set(), threading.Event()

    def write_on():
        with open(path, "r+b", buffering=0) as file:
            for byte in cycle((1, 2)):
                if stop.is_set():
                    return
                for at in range(0, size, stride):
                    os.pwrite(file.fileno(), bytes([byte]) * min(stride, PAGE_BYTES), at)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(8):
            (found,) = [None] if alone else hashing.cids_of_files([path], threads=1)
            if alone:
                try:
                    found = str(cid_of_file(path, threads=2))
                except CallerFault as fault:
                    found = fault
            told.add("fault" if isinstance(found, CallerFault) else found)
    finally:
        stop.set()
        writer.join()
    assert told <= known | {"fault"}
    path.write_bytes(written(size, WRITES, 1))
    assert list(hashing.cids_of_files([path])) == [twin.import_file(written(size, WRITES, 1))]


def test_a_file_written_a_moment_ago_is_looked_at_when_its_next_change_would_show(tmp_path, monkeypatch):
    path = write(tmp_path / "file", 10)
    changed_ns = os.stat(path).st_ctime_ns
    clock, waited = [changed_ns], []
    monkeypatch.setattr(hashing.time, "time_ns", lambda: clock[0])

    def sleep(seconds):
        waited.append(seconds)
        clock[0] += round(seconds * 1e9)

    monkeypatch.setattr(hashing.time, "sleep", sleep)
    assert str(cid_of_file(path)) == twin.import_file(path.read_bytes())
    assert waited == [hashing.TICK_NS / 1e9]
    clock[0] = changed_ns - 3600 * 10**9  # the file server's clock is ahead
    assert str(cid_of_file(path)) == twin.import_file(path.read_bytes())
    assert len(waited) == 1
    monkeypatch.setattr(hashing.time, "time_ns", lambda: changed_ns)  # as if written at each look
    assert file_fault(path) == ("file", f"{path} is being written to")


# Sizes of 0 with bytes behind them, and a page for a few bytes.
UNSIZED = [
    path
    for path in map(
        Path, ("/proc/version", "/proc/self/limits", "/sys/kernel/mm/transparent_hugepage/enabled")
    )
    if path.is_file()
]


@pytest.mark.skipif(not UNSIZED, reason="neither /proc nor /sys here")
def test_a_file_whose_size_is_not_its_length_is_read_to_its_end():
    expected = [twin.import_file(path.read_bytes()) for path in UNSIZED]
    assert [str(cid_of_file(path)) for path in UNSIZED] == expected
    assert list(hashing.cids_of_files(UNSIZED)) == expected
    for path in UNSIZED:
        assert hashing.hashed_file(path).size == len(path.read_bytes())


@pytest.mark.skipif(not os.path.isfile("/proc/version"), reason="no /proc here")
def test_what_has_no_size_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(hashing, "MAX_UNSIZED_BYTES", 3)
    assert "does not end" in file_fault("/proc/version")[1]


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_bad_threads(tmp_path, threads):
    assert file_fault(write(tmp_path / "f", 1), threads=threads)[0] == "threads"


SMALL = [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 4096, 5000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]


@pytest.mark.parametrize(("version", "raw"), [(0, None), (0, True), (1, None), (1, False)])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_files_are_named_as_each_alone(tmp_path, version, raw, threads):
    """Neighbours of all lengths share passes of the hash; more than one batch, and some too long for one."""
    sizes = [SMALL[(7 * i + i // len(SMALL)) % len(SMALL)] for i in range(hashing.FILES_A_BATCH + 30)]
    paths = [write(tmp_path / str(number), size) for number, size in enumerate(sizes)]
    found = list(hashing.cids_of_files(paths, cid_version=version, raw_leaves=raw, threads=threads))
    expected = {
        size: str(cid_of_file(paths[sizes.index(size)], cid_version=version, raw_leaves=raw))
        for size in SMALL
    }
    assert found == [expected[size] for size in sizes]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_cannot_be_read_costs_only_itself(tmp_path, threads):
    good = write(tmp_path / "good", 10)
    os.mkfifo(tmp_path / "pipe")
    paths = [good, tmp_path, tmp_path / "pipe", tmp_path / "absent", str(good) + "\0", good]
    first, *faults, last = hashing.cids_of_files(paths, threads=threads)
    assert first == last == str(cid_of_file(good))
    for path, fault in zip(paths[1:-1], faults, strict=True):
        assert isinstance(fault, CallerFault)
        with pytest.raises(CallerFault) as alone:
            cid_of_file(path)
        assert str(fault) == str(alone.value)


def test_files_are_named_as_they_come(tmp_path):
    """The paths are asked for a bounded number ahead."""
    path = write(tmp_path / "file", 10)
    asked = 0

    def paths():
        nonlocal asked
        for _ in range(20 * hashing.FILES_A_BATCH):
            asked += 1
            yield path

    found = hashing.cids_of_files(paths(), threads=2)
    next(found)
    assert asked <= (2 * hashing.BATCHES_AHEAD + 1) * hashing.FILES_A_BATCH
    found.close()


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025, UNIXFS_V0_2015.with_(chunk_bytes=1000)])
def test_every_profile_by_any_number_of_threads(profile, tmp_path):
    sizes = [0, 1, 1000, CHUNK_BYTES, 4 * CHUNK_BYTES, 4 * CHUNK_BYTES + 1, 3 * PART_BYTES + 12345]
    paths = [write(tmp_path / str(size), size) for size in sizes]
    expected = [str(cid_of_bytes(path.read_bytes(), profile)) for path in paths]
    for threads in (1, 3):
        assert [str(cid_of_file(path, profile=profile, threads=threads)) for path in paths] == expected
    assert list(hashing.cids_of_files(paths, profile=str(profile))) == expected


def test_profiles_by_name(tmp_path):
    path = write(tmp_path / "file", 10)
    assert cid_of_file(path, profile="unixfs-v1-2025") == cid_of_file(path, cid_version=1)
    with pytest.raises(CallerFault, match="profile"):
        cid_of_file(path, profile="unixfs-v2")
