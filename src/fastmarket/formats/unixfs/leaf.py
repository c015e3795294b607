"""Leaves of files: a chunk of a file is its block itself (raw), or the dag-pb node of a file around it.

Source: ipfs/specs, unixfs.md.
"""

from __future__ import annotations

from fastmarket.formats.varint import encode_uvarint

_TYPE_FILE = b"\x08\x02"  # UnixFS.Data field 1, Type = File
_EMPTY_LEAF = b"\x0a\x04\x08\x02\x18\x00"  # an empty file has a size of zero and no data field


def leaf_frame(size: int, raw: bool) -> tuple[bytes, bytes]:
    """What stands in a leaf's block before and behind its chunk of `size` bytes."""
    if raw:
        return b"", b""
    if not size:
        return _EMPTY_LEAF, b""
    length = encode_uvarint(size)
    inner = len(_TYPE_FILE) + 1 + len(length) + size + 1 + len(length)
    return b"".join((b"\x0a", encode_uvarint(inner), _TYPE_FILE, b"\x12", length)), b"\x18" + length


def encode_leaf(chunk: bytes) -> bytes:
    """The dag-pb node of a UnixFS file that contains `chunk` itself."""
    before, behind = leaf_frame(len(chunk), raw=False)
    return b"".join((before, chunk, behind))


def leaf_tree_bytes(size: int, raw: bool) -> int:
    """The length of a leaf's block for that many bytes."""
    before, behind = leaf_frame(size, raw)
    return len(before) + size + len(behind)
