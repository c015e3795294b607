"""Directories as `ipfs add -r` builds them: one block, or shards above the size that the profile allows.

Source: ipfs/specs, unixfs.md; IPIP-0499 (sizes, and that the threshold itself is still one block).
"""

from __future__ import annotations

from fastmarket.errors import CallerFault
from fastmarket.formats.dag_pb import PbLink, encode_pb_link, encode_pb_node
from fastmarket.formats.unixfs.hamt import build_shards, name_hash, seal_node
from fastmarket.formats.unixfs.importer import DagLink, OnNode
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message
from fastmarket.formats.unixfs.node import MAX_TARGET_BYTES, check_name
from fastmarket.formats.unixfs.profile import (
    SHARD_OVER_BYTES,
    UNIXFS_V0_2015,
    CidProfile,
    DirectorySize,
)
from fastmarket.formats.varint import encode_uvarint

_EMPTY = encode_message(UnixfsMessage(NodeKind.DIRECTORY))


class DirectoryBuilder:
    """Collects the entries of one directory, in any order."""

    def __init__(self, profile: CidProfile = UNIXFS_V0_2015) -> None:
        self.profile = profile
        self._entries: dict[bytes, DagLink] = {}
        self._size = len(encode_pb_node((), _EMPTY)) if profile.directory_size is DirectorySize.BLOCK else 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, link: DagLink) -> None:
        """Adds what `UnixfsImporter.finish_link`, `finish` or `symlink` returned. Raises CallerFault("name",
        ...) for a name that no file can have, or that is there already."""
        encoded = check_name(name).encode()
        if encoded in self._entries:
            raise CallerFault("name", f"{name!r} is in the directory already")
        self._entries[encoded] = link
        if self.profile.directory_size is DirectorySize.BLOCK:
            self._size += len(encode_pb_link(PbLink(link.cid, encoded, link.tree_bytes)))
        else:
            self._size += len(encoded) + len(link.cid)

    def finish(self, on_node: OnNode | None = None) -> DagLink:
        """The directory; `on_node` gets its blocks, the root last. `file_bytes` is the sum over all files."""
        if self._size > SHARD_OVER_BYTES:
            hashed = [(name_hash(name), name, link) for name, link in self._entries.items()]
            return build_shards(hashed, self.profile, on_node)
        links = [PbLink(link.cid, name, link.tree_bytes) for name, link in sorted(self._entries.items())]
        file_bytes = sum(link.file_bytes for link in self._entries.values())
        return seal_node(encode_pb_node(links, _EMPTY), links, file_bytes, self.profile, on_node)


def symlink(target: str, profile: CidProfile = UNIXFS_V0_2015, on_node: OnNode | None = None) -> DagLink:
    """A symlink, whose block `on_node` gets. Raises CallerFault("target", ...) if it is too long, or not
    UTF-8."""
    try:
        encoded = target.encode()
    except UnicodeEncodeError:
        raise CallerFault("target", "is not UTF-8") from None
    if len(encoded) > MAX_TARGET_BYTES:
        raise CallerFault("target", f"has {len(encoded)} bytes, of at most {MAX_TARGET_BYTES}")
    size = encode_uvarint(len(encoded))
    # As go-ipfs writes it: data is there even if it is empty.
    block = encode_pb_node((), b"\x08\x04\x12" + size + encoded)
    return seal_node(block, (), 0, profile, on_node)
