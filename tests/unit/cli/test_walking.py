"""The walk over a tree: every file once, in order, and everything else named; nothing ends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmarket.cli import walking
from fastmarket.cli.walking import Troubles, files_under, path_text


class Told:
    """What was told, in order."""

    def __init__(self) -> None:
        self.directories: list[tuple[str, str]] = []
        self.files: list[tuple[str, str]] = []
        self.left_out: list[str] = []
        self.troubles = Troubles(
            lambda path, reason: self.directories.append((path, reason)),
            lambda path, reason: self.files.append((path, reason)),
            self.left_out.append,
        )


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b", "a", "d/x", "c/z/1", "c/y")
    (tmp_path / "link").symlink_to("a")
    told = Told()
    found = [os.path.relpath(one.path, tmp_path) for one in files_under(str(tmp_path), told.troubles)]
    assert found == ["a", "b", "link", "c/y", "c/z/1", "d/x"]
    assert (told.directories, told.files, told.left_out) == ([], [], [])
    (one,) = (one for one in files_under(str(tmp_path), told.troubles) if one.path.endswith("/link"))
    assert one.state.inode == os.stat(tmp_path / "a").st_ino


def test_a_directory_that_goes_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, "a", "b/1", "b/2", "c/1")
    told, found = Told(), []
    for one in files_under(str(tmp_path), told.troubles):
        found.append(os.path.relpath(one.path, tmp_path))
        if one.path.endswith("a"):
            shutil.rmtree(tmp_path / "b")
    assert found == ["a", "c/1"]
    assert told.directories == [(str(tmp_path / "b"), "No such file or directory")]


def test_a_tree_deeper_than_a_path_may_be_long(tmp_path: Path) -> None:
    write(tmp_path, "z/last")
    name = "d" * 200
    here = os.open(tmp_path, os.O_RDONLY)
    depth = 4096 // 200 + 2
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)
    told = Told()
    found = [one.path for one in files_under(str(tmp_path), told.troubles)]
    assert 10 < len(found) < depth
    assert found[-1].endswith("z/last")
    assert [reason for _, reason in told.directories] == ["File name too long"]
    # Where the last directory just fits, the file in it does not.
    assert [reason for _, reason in told.files] in ([], ["File name too long"])


def test_a_listing_that_breaks_off_is_used_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a", "b")

    class Broken:
        """Its first entry, then a fault of the disk."""

        def __init__(self, first: os.DirEntry[str]) -> None:
            self._first = first

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            yield self._first
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            return None

    with os.scandir(str(tmp_path)) as entries:
        first = min(entries, key=lambda entry: entry.name)
    told = Told()
    with monkeypatch.context() as patched:
        patched.setattr(walking.os, "scandir", lambda path: Broken(first))
        found = [one.path for one in files_under(str(tmp_path), told.troubles)]
    assert found == [str(tmp_path / "a")]
    assert told.directories == [(str(tmp_path), "Input/output error")]


def test_names_that_are_no_utf8_are_told_as_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    with open(path, "w"):
        pass
    (one,) = files_under(str(tmp_path), Told().troubles)
    assert os.fsencode(one.path) == path
    assert path_text(one.path) == f"{tmp_path}/caf\\xe9"
