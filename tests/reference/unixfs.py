"""Twin of fastmarket.formats.unixfs.importer: the whole file in memory, a tree built level by level."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tests.reference.cid import base32_encode, base58_encode, varint

RAW, DAG_PB = 0x55, 0x70


class Node(NamedTuple):
    cid: bytes
    file_bytes: int
    tree_bytes: int


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field: length-delimited bytes or a varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def cid_bytes(block: bytes, codec: int, version: int) -> bytes:
    multihash = b"\x12\x20" + hashlib.sha256(block).digest()
    return multihash if version == 0 else b"\x01" + varint(codec) + multihash


def leaf(chunk: bytes, version: int, raw: bool) -> Node:
    if raw:
        return Node(cid_bytes(chunk, RAW, 1), len(chunk), len(chunk))
    data = field(1, 2) + (field(2, chunk) if chunk else b"") + field(3, len(chunk))
    block = field(1, data)
    return Node(cid_bytes(block, DAG_PB, version), len(chunk), len(block))


def parent(children: list[Node], version: int) -> Node:
    links = b"".join(field(2, field(1, c.cid) + field(2, b"") + field(3, c.tree_bytes)) for c in children)
    total = sum(child.file_bytes for child in children)
    data = field(1, 2) + field(3, total) + b"".join(field(4, c.file_bytes) for c in children)
    block = links + field(1, data)
    return Node(cid_bytes(block, DAG_PB, version), total, len(block) + sum(c.tree_bytes for c in children))


def import_file(
    data: bytes, *, version: int = 0, raw: bool = False, chunk: int = 256 * 1024, width: int = 174
) -> str:
    """The CID's text."""
    level = [leaf(data[at : at + chunk], version, raw) for at in range(0, len(data), chunk)]
    level = level or [leaf(b"", version, raw)]
    while len(level) > 1:
        level = [parent(level[at : at + width], version) for at in range(0, len(level), width)]
    root = level[0].cid
    return base58_encode(root) if root[0] == 0x12 else "b" + base32_encode(root)
