"""Nodes of UnixFS as they are read from blocks of strangers: files, directories, shards and symlinks.

Every rule that one block can break is checked here. What takes several blocks is the walker's: that a child
delivers the size promised for it, how deep and how large a tree is. A child's block may be in its CID itself
(`formats.block.inline_block`).

Sources: ipfs/specs, unixfs.md; IPIP-0512 (identity CIDs); CVE-2023-23625 (fanout).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES, is_usual, is_verifiable, split_cid
from fastmarket.formats.cid import Codec
from fastmarket.formats.dag_pb import PbLink, PbNode, decode_pb_node
from fastmarket.formats.multicodec import IDENTITY
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, decode_message

MAX_FILE_BYTES = (1 << 63) - 1
"""Of a file, as its node promises: what offsets of operating systems hold."""

MAX_NAME_BYTES = 255
"""Of a name in a directory, in UTF-8: the longest that file systems keep."""

MAX_TARGET_BYTES = 4096
"""Of the path in a symlink: the longest that Linux takes."""

MAX_FANOUT = 1024
"""Of a shard: a bit field and a table are made for it."""

MURMUR3_X64_64 = 0x22
"""The only hash function of shards."""

_IN_FILES = (Codec.RAW, Codec.DAG_PB)


class Child(NamedTuple):
    """A part of a file: the binary CID of its block, and the bytes of the file below it, as promised."""

    cid: bytes
    file_bytes: int


@dataclass(frozen=True, slots=True)
class FileNode:
    """A file, or a part of one: the bytes `inline`, then those of the children, together `file_bytes`."""

    inline: bytes
    children: tuple[Child, ...]
    file_bytes: int


class DirectoryEntry(NamedTuple):
    """`cid` is binary; `tree_bytes` is what the directory's writer says of the blocks below, and no more."""

    name: str
    cid: bytes
    tree_bytes: int


@dataclass(frozen=True, slots=True)
class DirectoryNode:
    """A whole directory, in the order of its links. Of entries with one name, only the first is there."""

    entries: tuple[DirectoryEntry, ...]

    def find(self, name: str) -> DirectoryEntry | None:
        """The entry of that name."""
        return next((entry for entry in self.entries if entry.name == name), None)


class HamtLink(NamedTuple):
    """What is in one slot of a shard: an entry, or without `name` the shard below."""

    slot: int
    name: str | None
    cid: bytes
    tree_bytes: int


@dataclass(frozen=True, slots=True)
class HamtNode:
    """One shard of a directory: at most one link for each of `fanout` slots, by slot."""

    fanout: int
    links: tuple[HamtLink, ...]

    @property
    def slot_bits(self) -> int:
        """Bits of a name's hash that choose a slot."""
        return self.fanout.bit_length() - 1

    @property
    def max_depth(self) -> int:
        """Shards on the way to an entry: as many as a hash of 64 bits has slots."""
        return 64 // self.slot_bits

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Those of this shard; more may be in the shards below."""
        return tuple(DirectoryEntry(link.name, link.cid, link.tree_bytes) for link in self.links if link.name)

    @property
    def shards(self) -> tuple[HamtLink, ...]:
        """The links to the shards below."""
        return tuple(link for link in self.links if not link.name)


@dataclass(frozen=True, slots=True)
class SymlinkNode:
    """A symlink; `target` is a path of the writer's, to be shown, never followed."""

    target: str


UnixfsNode: TypeAlias = FileNode | DirectoryNode | HamtNode | SymlinkNode


def read_node(codec: int, block: bytes) -> UnixfsNode:
    """The node of a block that was verified, by the codec of its CID; a raw block is a file of its bytes.

    Raises PeerFault if it breaks a rule of UnixFS, is of a kind that has no content, or of another codec.
    """
    if codec == Codec.RAW:
        if len(block) > MAX_BLOCK_BYTES:
            raise LimitExceeded("bytes in a block", MAX_BLOCK_BYTES, len(block))
        return FileNode(block, (), len(block))
    if codec != Codec.DAG_PB:
        raise PeerFault(f"a block of codec {codec:#x} is not UnixFS")
    node = decode_pb_node(block)
    if node.data is None:
        raise PeerFault("a dag-pb node without data is not UnixFS")
    message = decode_message(node.data)
    read = _READERS.get(message.kind)
    if read is None:
        raise PeerFault(f"a UnixFS node of type {message.kind.name}")
    return read(node, message)


def check_name(name: str | bytes) -> str:
    """The name of a directory's entry, if it can be one of a file. Raises CallerFault("name", ...)."""
    try:
        encoded = name.encode() if isinstance(name, str) else name
        text = encoded.decode()
    except UnicodeError:
        raise CallerFault("name", "is not UTF-8") from None
    if not text or text in (".", "..") or "/" in text or "\0" in text:
        raise CallerFault("name", "is empty, '.' or '..', or contains '/' or NUL")
    if len(encoded) > MAX_NAME_BYTES:
        raise CallerFault("name", f"has {len(encoded)} bytes, of at most {MAX_NAME_BYTES}")
    return text


def _file(node: PbNode, message: UnixfsMessage) -> FileNode:
    links, sizes = node.links, message.block_bytes
    if len(links) != len(sizes):
        raise PeerFault(f"a file of {len(links)} links and {len(sizes)} block sizes")
    total = len(message.data) + sum(sizes)
    if total != (message.file_bytes or 0):
        raise PeerFault(f"a file of {message.file_bytes or 0} bytes, whose parts have {total}")
    if total > MAX_FILE_BYTES:
        raise LimitExceeded("bytes in a file", MAX_FILE_BYTES, total)
    children = tuple(_child(link, size) for link, size in zip(links, sizes, strict=True))
    return FileNode(message.data, children, total)


def _child(link: PbLink, file_bytes: int) -> Child:
    if link.name:
        raise PeerFault("a link with a name inside a file")
    if is_usual(link.cid):
        return Child(link.cid, file_bytes)
    parts = split_cid(link.cid)
    if parts.codec not in _IN_FILES:
        raise PeerFault(f"a part of a file of codec {parts.codec:#x}")
    if not is_verifiable(parts):
        raise PeerFault(f"a part of a file by hash function {parts.code:#x}, which is not allowed")
    if parts.code == IDENTITY and parts.codec == Codec.RAW and len(parts.digest) != file_bytes:
        raise PeerFault("a part of a file that has not the size promised for it")
    return Child(link.cid, file_bytes)


def _directory(node: PbNode, message: UnixfsMessage) -> DirectoryNode:
    entries: dict[str, DirectoryEntry] = {}
    for link in node.links:
        _check_cid(link.cid)
        name = _name(link.name or b"")
        entries.setdefault(name, DirectoryEntry(name, link.cid, link.tree_bytes or 0))
    return DirectoryNode(tuple(entries.values()))


def _check_cid(raw: bytes) -> None:
    if not is_usual(raw):
        split_cid(raw)


def _name(raw: bytes) -> str:
    try:
        return check_name(raw)
    except CallerFault as fault:
        raise PeerFault(f"a name in a directory {fault.reason}") from None


def _symlink(node: PbNode, message: UnixfsMessage) -> SymlinkNode:
    if node.links:
        raise PeerFault("a symlink with links")
    if len(message.data) > MAX_TARGET_BYTES:
        raise LimitExceeded("bytes in a symlink", MAX_TARGET_BYTES, len(message.data))
    try:
        return SymlinkNode(message.data.decode())
    except UnicodeDecodeError:
        raise PeerFault("a symlink that is not UTF-8") from None


def _hamt(node: PbNode, message: UnixfsMessage) -> HamtNode:
    fanout = message.fanout or 0
    if message.hash_type != MURMUR3_X64_64:
        raise PeerFault("a shard by a hash function other than murmur3-x64-64")
    if not 8 <= fanout <= MAX_FANOUT or fanout & (fanout - 1):
        raise PeerFault(f"a shard of fanout {fanout}: a power of two, from 8 to {MAX_FANOUT}")
    if len(message.data) > fanout // 8:
        raise PeerFault("a shard whose bit field is longer than its fanout")
    used = int.from_bytes(message.data, "big")  # written without leading zeros
    width = slot_digits(fanout)
    links = sorted((_hamt_link(link, width) for link in node.links), key=lambda link: link.slot)
    if used != _bits(link.slot for link in links) or used.bit_count() != len(links):
        raise PeerFault("a shard whose links are not those of its bit field")
    return HamtNode(fanout, tuple(links))


def slot_digits(fanout: int) -> int:
    """Hexadecimal digits of a slot before a name."""
    return len(f"{fanout - 1:X}")


def _bits(slots: Iterable[int]) -> int:
    found = 0
    for slot in slots:
        found |= 1 << slot
    return found


def _hamt_link(link: PbLink, width: int) -> HamtLink:
    _check_cid(link.cid)
    prefix, name = (link.name or b"")[:width], (link.name or b"")[width:]
    try:
        slot = int(prefix, 16)
    except ValueError:
        slot = -1
    if slot < 0 or prefix != f"{slot:0{width}X}".encode():
        raise PeerFault("a link of a shard without the number of its slot")
    return HamtLink(slot, _name(name) if name else None, link.cid, link.tree_bytes or 0)


_READERS: dict[NodeKind, Callable[[PbNode, UnixfsMessage], UnixfsNode]] = {
    NodeKind.RAW: _file,
    NodeKind.FILE: _file,
    NodeKind.DIRECTORY: _directory,
    NodeKind.HAMT: _hamt,
    NodeKind.SYMLINK: _symlink,
}
