"""What an import hands to the ledger, and gets from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastmarket.content.goods import Good
from fastmarket.content.stamp import FileStamp
from fastmarket.content.tree_rows import TreeRows
from fastmarket.formats.unixfs.importer import DagLink


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An imported file."""

    id: int
    path: str
    profile: str
    stamp: FileStamp
    link: DagLink  # its root
    blocks: int


@dataclass(frozen=True, slots=True)
class NewGood:
    """What an import found. `files`: numbers of the files in it; `rows`: of its directories, if it is one,
    under the number from `reserve_good`."""

    path: str
    link: DagLink
    blocks: int
    files: Sequence[int]
    rows: TreeRows | None = None


@dataclass(frozen=True, slots=True)
class GoodPut:
    """`good` is sold from now on; `before`: what was sold at its path, if that was another content."""

    good: Good
    before: Good | None
