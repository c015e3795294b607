"""NAME.part on its way to become NAME: whose it is, what is kept of it, and what is left of it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from fastmarket.errors import CallerFault, NodeFault, StorageFault, Unmet
from fastmarket.part_files import (
    PROOF_BYTES,
    SYNC_BYTES,
    PartFile,
    check_proof,
    new_proof,
    open_proven,
    written_spans,
)

BLOCK = 1 << 20


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def list_of(target: Path) -> Path:
    return target.with_name("file.part.list")


def part_of(target: Path) -> Path:
    return target.with_name("file.part")


def test_what_is_appended_becomes_the_file(target: Path) -> None:
    part = PartFile(target)
    assert part.begin_stream("order") == 0
    for data in (b"abc", b"", b"def"):
        part.append(data)
    assert not target.exists()
    part.finish(6)
    part.close()
    assert target.read_bytes() == b"abcdef"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(target.parent) == ["file"]


def test_what_is_not_a_file_is_not_replaced(target: Path) -> None:
    os.mkfifo(target)
    with pytest.raises(CallerFault, match="is not a file"):
        PartFile(target)
    assert os.listdir(target.parent) == ["file"]


def test_what_cannot_be_a_file_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "out").symlink_to("/proc/self/fd/1")  # as /dev/stdout is
    for path, why in (
        (tmp_path / "file" / "below", "not a directory"),
        (tmp_path / "missing" / "below", "no such file"),
        (tmp_path / ("n" * 256), "name too long"),
        (tmp_path / "nul\0", "null"),
        (tmp_path / "out", "not a file"),
        (tmp_path, "is a directory"),
    ):
        with pytest.raises(CallerFault, match=why):
            PartFile(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]
    with pytest.raises(CallerFault, match="denied"):
        _without_rights(tmp_path)


def _without_rights(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    if os.geteuid():
        PartFile(closed / "file")
    os.seteuid(65534)  # root may do anything
    try:
        PartFile(closed / "file")
    finally:
        os.seteuid(0)


def test_the_longest_name_of_all_is_written_and_goes_on(tmp_path: Path) -> None:
    target = tmp_path / ("ö" * 127 + "n")
    for kept in (0, 3):
        part = PartFile(target)
        assert part.begin_stream("order") == kept
        part.append(b"abc")
        part.close()
    part = PartFile(target)
    assert part.begin_stream("order") == 6
    part.finish(6)
    part.close()
    assert target.read_bytes() == b"abcabc"
    assert os.listdir(tmp_path) == [target.name]


def test_an_earlier_file_is_replaced_as_a_whole(target: Path) -> None:
    target.write_bytes(b"earlier")
    part = PartFile(target)
    part.begin_stream("order")
    part.append(b"new")
    assert target.read_bytes() == b"earlier"
    part.finish(3)
    part.close()
    assert target.read_bytes() == b"new"


def test_a_later_run_goes_on_with_what_is_noted(target: Path) -> None:
    part = PartFile(target)
    part.begin_stream("order")
    part.append(b"abc")
    part.close()
    with part_of(target).open("ab") as file:
        file.write(b"not noted")
    part = PartFile(target)
    assert part.begin_stream("order") == 3
    part.append(b"def")
    part.finish(6)
    part.close()
    assert target.read_bytes() == b"abcdef"


def test_what_is_synced_is_noted_on_the_way(target: Path) -> None:
    part = PartFile(target)
    part.begin_stream("order")
    noted = []
    for _ in range(SYNC_BYTES // BLOCK * 2 + 3):
        part.append(bytes(BLOCK))
        noted.append(json.loads(list_of(target).read_text())["bytes"])
    # As it would be after SIGKILL: nothing is noted at the end.
    assert sorted(set(noted)) == [0, SYNC_BYTES, 2 * SYNC_BYTES]
    assert json.loads(list_of(target).read_text()) == {"order": "order", "bytes": 2 * SYNC_BYTES}
    part.close()


def test_a_file_shorter_than_noted_is_begun_again(target: Path) -> None:
    part_of(target).write_bytes(b"ab")
    list_of(target).write_text(json.dumps({"order": "order", "bytes": 3}))
    part = PartFile(target)
    assert part.begin_stream("order") == 0
    part.close()


def test_a_file_of_the_wrong_size_is_not_finished(target: Path) -> None:
    part = PartFile(target)
    part.begin_stream("order")
    part.append(b"abc")
    with pytest.raises(NodeFault, match="3 bytes instead of 4"):
        part.finish(4)
    part.close()
    assert not target.exists()
    assert part_of(target).read_bytes() == b"abc"


def test_another_file_in_place_of_the_part_is_not_finished(target: Path) -> None:
    part = PartFile(target)
    part.begin_stream("order")
    part.append(b"abc")
    part_of(target).unlink()
    part_of(target).write_bytes(b"xyz")
    with pytest.raises(NodeFault, match="was replaced"):
        part.finish(3)
    part.close()
    assert not target.exists()
    assert part_of(target).read_bytes() == b"xyz"


def test_nothing_is_left_of_what_was_not_begun(target: Path) -> None:
    for prove in (False, True):
        part = PartFile(target)
        if prove:
            part.prove()
        else:
            part.begin_stream("order")
        part.close()
        assert os.listdir(target.parent) == []


def test_a_proof_is_cut_off_by_whoever_takes_it(target: Path) -> None:
    part_of(target).write_bytes(b"earlier")
    part = PartFile(target)
    proof = part.prove()
    assert stat.S_IMODE(part_of(target).stat().st_mode) == 0o600
    assert part_of(target).read_bytes() == b"earlier" + proof
    number = open_proven(part.name, proof)
    assert os.fstat(number).st_size == 7
    with pytest.raises(Unmet):
        open_proven(part.name, proof)
    os.close(number)
    part.close()
    assert part_of(target).read_bytes() == b"earlier"


def test_a_proof_that_nobody_took_is_removed(target: Path) -> None:
    part_of(target).write_bytes(b"earlier")
    part = PartFile(target)
    part.prove()
    part.close()
    assert part_of(target).read_bytes() == b"earlier"


def test_no_file_that_is_not_ours_ends_in_a_proof() -> None:
    first, second = new_proof(), new_proof()
    check_proof(first)
    assert first != second
    for wrong in (b"", bytes(PROOF_BYTES), first[1:], first + b"x", b"-----END OPENSSH PRIVATE KEY----"):
        with pytest.raises(Unmet) as caught:
            check_proof(wrong)
        assert caught.value.code == "NO_OUTPUT"


@pytest.mark.parametrize("path", ["file.part", "", "/tmp\0/x", "/nowhere/x"])
def test_only_absolute_paths_of_files_are_opened(path: str) -> None:
    with pytest.raises(Unmet):
        open_proven(path, new_proof())


def test_two_runs_do_not_write_one_file(target: Path) -> None:
    part = PartFile(target)
    with pytest.raises(CallerFault, match="another process"):
        PartFile(target)
    part.begin_stream("order")
    part.append(b"x")
    part.finish(1)
    again = PartFile(target)  # the name is free when the file has its own
    part.close()
    again.close()
    assert os.listdir(target.parent) == ["file"]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_is_left_alone(target: Path, kind: str) -> None:
    part = part_of(target)
    if kind == "directory":
        part.mkdir()
    elif kind == "link":
        part.symlink_to(target.parent / "elsewhere")
    else:
        os.mkfifo(part)
    with pytest.raises(CallerFault) as caught:
        PartFile(target)
    assert caught.value.field == "path"
    assert os.listdir(target.parent) == ["file.part"]


def test_a_full_disk_is_a_fault_that_names_the_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = PartFile(target)
    part.begin_stream("order")
    part.append(b"abc")

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StorageFault, match=r"file\.part: no space left"):
            part.append(b"def")
    part.close()
    assert part_of(target).read_bytes() == b"abc"
    part = PartFile(target)
    assert part.begin_stream("order") == 3
    part.close()


def test_holes_are_what_was_not_written(target: Path) -> None:
    with target.open("w+b") as file:
        assert written_spans(file.fileno()) == []
        os.pwrite(file.fileno(), b"x" * BLOCK, 3 * BLOCK)
        os.ftruncate(file.fileno(), 9 * BLOCK)
        spans = written_spans(file.fileno())
        assert all(first <= 3 * BLOCK and end >= 4 * BLOCK for first, end in spans[:1])
        os.pwrite(file.fileno(), b"x", 9 * BLOCK)
        assert written_spans(file.fileno())[-1][1] == 9 * BLOCK + 1


@pytest.mark.parametrize("number", ["-1", "11", "1e999", "NaN", '"x"', "[]", "null", "[" * 5000, "9" * 5000])
def test_a_note_that_tells_no_place_is_no_note(target: Path, number: str) -> None:
    part_of(target).write_bytes(b"0123456789")
    list_of(target).write_text(f'{{"order": "order", "bytes": {number}}}')
    part = PartFile(target)
    assert part.begin_stream("order") == 0
    part.append(b"abc")
    part.finish(3)
    part.close()
    assert target.read_bytes() == b"abc"
