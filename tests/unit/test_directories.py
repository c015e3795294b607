"""directories: a tree on a disk by one CID, and what cannot be part of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmarket.directories import StepKind, hashed_directory, tree_steps
from fastmarket.errors import CallerFault
from fastmarket.formats.block import split_cid
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.node import DirectoryNode, SymlinkNode, read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.formats.unixfs.tree import TreeBuilder


def make_tree(root: Path) -> Path:
    """Files of one and of several chunks, in nested, empty and hidden directories."""
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("hello world\n")
    (root / "empty.txt").touch()
    (root / "sub" / "large").write_bytes(bytes(600_000))
    (root / "sub" / "deeper" / "ü").write_text("deep")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


# By ipfs-unixfs-importer 17.1.1, with the parameters of the profiles.
PUBLISHED = [
    (UNIXFS_V0_2015, "QmccTev9ikXsV9RRXMznPfMFGJH2Tb5xeGbNXNTsXfWxcf"),
    (UNIXFS_V1_2025, "bafybeiffzrzt5c2dizdwvxshnalqorz46f75ahai7qp3s2ezwshknvmtqe"),
]


@pytest.mark.parametrize(("profile", "expected"), PUBLISHED)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_tree_has_the_cid_that_others_give_it(
    profile: CidProfile, expected: str, threads: int, tree: Path
) -> None:
    done: list[int] = []
    found = hashed_directory(tree, profile=profile, threads=threads, progress=done.append)
    assert str(found.cid) == expected
    assert (found.size, found.files) == (600_016, 4)
    assert done == [12, 12, 16, 600_016]


def test_symlinks_are_part_of_it_and_not_followed(tree: Path) -> None:
    before = hashed_directory(tree).cid
    (tree / "link").symlink_to("../nowhere")
    (tree / "self").symlink_to(tree)
    blocks: dict[bytes, bytes] = {}
    found = hashed_directory(tree, on_node=blocks.__setitem__)
    root = read_node(0x70, blocks[found.cid.raw])
    assert isinstance(root, DirectoryNode)
    entry = root.find("link")
    assert entry is not None
    assert read_node(0x70, blocks[entry.cid]) == SymlinkNode("../nowhere")
    assert list(blocks)[-1] == found.cid.raw
    assert found.cid != before


def test_hidden_entries_only_if_they_are_wanted(tree: Path) -> None:
    before = hashed_directory(tree)
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("x")
    (tree / "sub" / ".hidden").write_text("x")
    assert hashed_directory(tree) == before
    with_all = hashed_directory(tree, hidden=True)
    assert (with_all.files, with_all.size) == (before.files + 2, before.size + 2)


def test_a_walk_is_depth_first_and_in_order(tree: Path) -> None:
    steps = [(step.kind.name, os.path.relpath(step.path, tree)) for step in tree_steps(tree)]
    assert steps == [
        ("FILE", "a.txt"),
        ("ENTER", "empty"),
        ("LEAVE", "empty"),
        ("FILE", "empty.txt"),
        ("ENTER", "sub"),
        ("ENTER", "sub/deeper"),
        ("FILE", "sub/deeper/ü"),
        ("LEAVE", "sub/deeper"),
        ("FILE", "sub/large"),
        ("LEAVE", "sub"),
        ("LEAVE", "."),
    ]


def test_a_tree_deeper_than_the_stack(tmp_path: Path) -> None:
    paths = [str(tmp_path) + depth * "/d" for depth in range(1, 1201)]  # of less than 4096 bytes
    try:
        for path in paths:
            os.mkdir(path)
        assert hashed_directory(tmp_path).tree_bytes > 1200 * 40
    finally:
        for path in reversed(paths):  # pytest would go down by recursion
            os.rmdir(path)


def fault(path: str | Path) -> str:
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    with pytest.raises(CallerFault) as caught:
        hashed_directory(path)
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before
    assert caught.value.field == "file"
    return caught.value.reason


def test_what_cannot_be_part_of_it_is_named(tree: Path) -> None:
    os.mkfifo(tree / "sub" / "pipe")
    assert fault(tree) == f"{tree}/sub/pipe is not a regular file"
    (tree / "sub" / "pipe").unlink()
    strange = Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9"))
    strange.write_text("x")
    assert fault(tree) == f"{tree}/caf\\xe9: the name is not UTF-8"


def test_paths_that_are_no_directory(tree: Path) -> None:
    assert fault(tree / "gone") == f"{tree}/gone: No such file or directory"
    assert fault(tree / "a.txt") == f"{tree}/a.txt: Not a directory"
    assert "NUL" in fault(f"{tree}\0")


def test_a_file_that_changes_after_it_was_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(files: Iterator[str], **options: object) -> Iterator[str]:
        """Names small files, each of which has changed when its name is looked at."""
        for path in files:
            Path(path).write_text("longer than before")
            yield "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"

    monkeypatch.setattr("fastmarket.directories.hashed_files", slowly)
    assert fault(tree) == f"{tree}/a.txt changed while it was being read"


def test_a_file_that_goes_after_it_was_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(tree_steps(tree))
    (tree / "a.txt").unlink()
    monkeypatch.setattr("fastmarket.directories.tree_steps", lambda path, hidden: iter(found))
    assert fault(tree) == f"{tree}/a.txt: No such file or directory"


def test_a_tree_is_built_once() -> None:
    tree = TreeBuilder()
    tree.enter("a")
    tree.add_symlink("b", "c")
    tree.leave()
    assert tree.root is None
    with pytest.raises(CallerFault, match="name"):
        tree.add_symlink("a", "d")
    tree.leave()
    assert tree.root is not None
    assert split_cid(tree.root.cid).version == 0
    for call in (tree.leave, lambda: tree.enter("x"), lambda: tree.add_symlink("x", "y")):
        with pytest.raises(CallerFault, match="complete"):
            call()


def test_kinds_of_steps(tree: Path) -> None:
    (tree / "z").symlink_to("a.txt")
    kinds = {step.name: step for step in tree_steps(tree)}
    assert (kinds["z"].kind, kinds["z"].target) == (StepKind.SYMLINK, "a.txt")
    state = kinds["a.txt"].state
    assert state is not None
    assert state.size == 12


def test_a_root_may_be_a_link_to_a_directory(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert hashed_directory(tmp_path / "link").cid == hashed_directory(tree).cid
    assert isinstance(hashed_directory(tmp_path / "link").cid, Cid)
