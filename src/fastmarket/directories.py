"""A directory of a disk as one content, as `ipfs add -r` takes it: symlinks as they are, empty directories
included, hidden entries left out unless they are wanted. Anything else in it is a fault.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.importer import DagLink, OnNode
from fastmarket.formats.unixfs.leaf import leaf_tree_bytes
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.formats.unixfs.tree import TreeBuilder
from fastmarket.hashing import FileState, HashedFile, hashed_files


class StepKind(Enum):
    """What a step of a walk is."""

    FILE = auto()
    SYMLINK = auto()
    ENTER = auto()  # a directory
    LEAVE = auto()  # the one that was entered last; the last step leaves the directory that is walked


class TreeStep(NamedTuple):
    """`name` is the entry's in its directory; `state` is a file's, `target` a symlink's."""

    kind: StepKind
    path: str
    name: str
    state: FileState | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class HashedDirectory:
    """`size`: bytes of all files; `tree_bytes`: of all blocks, as many times as they are linked."""

    cid: Cid
    size: int
    tree_bytes: int
    files: int


def tree_steps(root: str | os.PathLike[str], *, hidden: bool = False) -> Iterator[TreeStep]:
    """Walks a directory depth first, each in order of the names. Raises CallerFault("file", ...) for what
    cannot be read, or be part of a content."""
    path = os.fsdecode(root)
    waiting = [TreeStep(StepKind.LEAVE, path, ""), *reversed(_entries(path, hidden))]
    while waiting:
        step = waiting.pop()
        yield step
        if step.kind is StepKind.ENTER:
            waiting.append(TreeStep(StepKind.LEAVE, step.path, step.name))
            waiting.extend(reversed(_entries(step.path, hidden)))


def _entries(path: str, hidden: bool) -> list[TreeStep]:
    if "\0" in path:
        raise CallerFault("file", "the path contains a NUL byte")
    try:
        with os.scandir(path) as found:
            shown = [entry for entry in found if hidden or not entry.name.startswith(".")]
        return [_step(entry) for entry in sorted(shown, key=lambda entry: os.fsencode(entry.name))]
    except OSError as fault:
        raise CallerFault("file", f"{fault.filename or path}: {fault.strerror}") from None


def _step(entry: os.DirEntry[str]) -> TreeStep:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        return TreeStep(StepKind.ENTER, entry.path, entry.name)
    if stat.S_ISLNK(status.st_mode):
        return TreeStep(StepKind.SYMLINK, entry.path, entry.name, target=os.readlink(entry.path))
    if stat.S_ISREG(status.st_mode):
        return TreeStep(StepKind.FILE, entry.path, entry.name, state=FileState.of(status))
    raise CallerFault("file", f"{entry.path} is not a regular file")


def hashed_directory(
    path: str | os.PathLike[str],
    *,
    profile: CidProfile = UNIXFS_V0_2015,
    hidden: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    on_node: OnNode | None = None,
) -> HashedDirectory:
    """The CID `ipfs add -r` gives to a directory; `hidden` as `--hidden`.

    `progress` is called with the bytes of the files done. Raises CallerFault("file", ...) if something below
    it cannot be part of a content, cannot be read, or changes meanwhile.
    """
    tree, steps = TreeBuilder(profile, on_node), deque[TreeStep]()

    def files() -> Iterator[str]:
        for step in tree_steps(path, hidden=hidden):
            steps.append(step)
            if step.kind is StepKind.FILE:
                yield step.path

    size = count = 0
    with closing(hashed_files(files(), profile=profile, threads=threads)) as found:
        for hashed in found:
            while steps[0].kind is not StepKind.FILE:
                _take(tree, steps.popleft())
            step = steps.popleft()
            link = _link(step, hashed, profile)
            _named(step, tree.add, step.name, link)
            size, count = size + link.file_bytes, count + 1
            if progress is not None:
                progress(size)
    for step in steps:
        _take(tree, step)
    assert tree.root is not None  # the last step left the outermost directory
    return HashedDirectory(Cid.from_bytes(tree.root.cid), size, tree.root.tree_bytes, count)


def _take(tree: TreeBuilder, step: TreeStep) -> None:
    if step.kind is StepKind.ENTER:
        _named(step, tree.enter, step.name)
    elif step.kind is StepKind.LEAVE:
        _named(step, tree.leave)
    else:
        _named(step, tree.add_symlink, step.name, step.target)


def _named(step: TreeStep, call: Callable[..., None], *arguments: object) -> None:
    """A fault names the path."""
    try:
        call(*arguments)
    except CallerFault as fault:
        shown = os.fsencode(step.path).decode("utf-8", "backslashreplace")
        raise CallerFault("file", f"{shown}: the {fault.field} {fault.reason}") from None


def _link(step: TreeStep, hashed: str | HashedFile | CallerFault, profile: CidProfile) -> DagLink:
    """The link to a file, if the file is the one that the walk found."""
    if isinstance(hashed, CallerFault):
        raise hashed
    if isinstance(hashed, HashedFile):
        return DagLink(hashed.cid.raw, hashed.size, hashed.tree_bytes)
    try:
        state = FileState.of(os.stat(step.path))
    except OSError as fault:
        raise CallerFault("file", f"{step.path}: {fault.strerror}") from None
    if state != step.state:
        raise CallerFault("file", f"{step.path} changed while it was being read")
    return DagLink(Cid.from_text(hashed).raw, state.size, leaf_tree_bytes(state.size, profile.raw_leaves))
