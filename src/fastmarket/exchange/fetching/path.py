"""The way from a content's root to a file below it, through directories and shards.

Source: ipfs/specs, unixfs.md. Names are compared as they are, and symlinks are not followed.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.exchange.fetching.faults import NoSuchPath, NotAFile, bad_content, text_of
from fastmarket.formats.block import is_verifiable, split_cid
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.unixfs.hamt import ShardSearch
from fastmarket.formats.unixfs.node import (
    DirectoryNode,
    FileNode,
    HamtNode,
    SymlinkNode,
    UnixfsNode,
    check_name,
    read_node,
)

_IN_UNIXFS = (Codec.RAW, Codec.DAG_PB)


class PathWalk:
    """Give it the block of `cid`; either that was the file, or `cid` is the next block on the way."""

    __slots__ = ("_at", "_segments", "_shards", "cid")

    def __init__(self, root: Cid, segments: Sequence[str], config: FetchConfig) -> None:
        """Raises CallerFault("path", ...) for names that cannot be, and ("root", ...) for what is not
        UnixFS."""
        if len(segments) > config.max_path_segments:
            raise CallerFault("path", f"has more than {config.max_path_segments} names")
        for name in segments:
            try:
                check_name(name)
            except CallerFault as fault:
                raise CallerFault("path", f"{name!r} {fault.reason}") from None
        if sum(len(name.encode()) + 1 for name in segments) > config.max_path_bytes:
            raise CallerFault("path", f"has more than {config.max_path_bytes} bytes")
        unusable = _unusable(root.raw)
        if unusable:
            raise CallerFault("root", unusable)
        self._segments = tuple(segments)
        self._at = 0
        self._shards: ShardSearch | None = None
        self.cid = root.raw
        """Binary, of the block that is wanted."""

    def feed(self, block: bytes) -> FileNode | None:
        """Takes the block of `cid`, whose hash was checked. The file's root node once it is there; None: go
        on.

        Raises CallerFault("path", ...) where the path leads to nothing, or not to a file; BadContent.
        """
        try:
            node = read_node(split_cid(self.cid).codec, block)
            if self._at < len(self._segments):
                self._step(node)
                return None
        except PeerFault as fault:
            raise bad_content(fault.reason, self.cid) from None
        if isinstance(node, FileNode):
            return node
        raise NotAFile("path", f"{self._here()} is {_kind(node)}, not a file")

    def _step(self, node: UnixfsNode) -> None:
        name = self._segments[self._at]
        if isinstance(node, HamtNode):
            if self._shards is None:
                self._shards = ShardSearch(name)
            link = self._shards.look(node)
            if link is not None and link.name is None:
                self._go_to(link.cid)
                return
            found = None if link is None else link.cid
        elif isinstance(node, DirectoryNode) and self._shards is None:
            entry = node.find(name)
            found = None if entry is None else entry.cid
        elif self._shards is not None:
            raise PeerFault("a shard that is not one")
        else:
            raise NoSuchPath("path", f"{self._here()} is {_kind(node)}, not a directory")
        if found is None:
            raise NoSuchPath("path", f"there is no {name!r} in {self._here()}")
        self._at += 1
        self._shards = None
        self._go_to(found)

    def _go_to(self, cid: bytes) -> None:
        unusable = _unusable(cid)
        if unusable:
            raise CallerFault("path", f"{self._here()} {unusable}")
        self.cid = cid

    def _here(self) -> str:
        return "/".join(self._segments[: self._at]) or text_of(self.cid)


def _unusable(cid: bytes) -> str:
    """Why a block cannot be one of UnixFS, or not be verified; empty: it can."""
    parts = split_cid(cid)
    if parts.codec not in _IN_UNIXFS:
        return f"is of codec {parts.codec:#x}, not a file or directory of UnixFS"
    return "" if is_verifiable(parts) else f"is named by hash function {parts.code:#x}, which is not allowed"


def _kind(node: UnixfsNode) -> str:
    if isinstance(node, SymlinkNode):
        return "a symlink"
    return "a file" if isinstance(node, FileNode) else "a directory"
