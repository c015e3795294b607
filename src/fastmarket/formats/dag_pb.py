"""The node of DAG-PB: links and data. Strict: each field at most once and in its type, and no other fields.

Readers take both orders of a node's fields, links first or data first; the links stand together. Written are
links first. Source: ipld.io specs, codecs/dag-pb; IPIP-0550 (both orders).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.varint import decode_uvarint, encode_uvarint

MIN_LINK_BYTES = 40
"""A link to a CIDv1 of 36 bytes, without name and size."""

MAX_LINKS = MAX_BLOCK_BYTES // MIN_LINK_BYTES
"""Links in a node, as many as fit into a block: only links to identity CIDs could be more, and make work."""

_DATA, _LINKS = 0x0A, 0x12  # of a node: fields 1 and 2, with a length
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18  # of a link: fields 1 and 2, with a length; field 3, a varint


class PbLink(NamedTuple):
    """`cid` is binary; `tree_bytes` (Tsize) is what the writer says of the blocks below: a hint, never
    trusted."""

    cid: bytes
    name: bytes | None
    tree_bytes: int | None


class PbNode(NamedTuple):
    """The links in the order of the block; no data is not the same as empty data."""

    links: tuple[PbLink, ...]
    data: bytes | None


def decode_pb_node(block: bytes) -> PbNode:
    """The node that fills `block`; its CIDs are not examined. Raises PeerFault if it is malformed, and
    LimitExceeded if it has more than MAX_BLOCK_BYTES or MAX_LINKS."""
    end = len(block)
    if end > MAX_BLOCK_BYTES:
        raise LimitExceeded("bytes in a block", MAX_BLOCK_BYTES, end)
    links: list[PbLink] = []
    data: bytes | None = None
    at, before = 0, 0
    while at < end:
        tag = block[at]
        start, stop = _extent(block, at + 1, end)
        if tag == _LINKS:
            if links and before != _LINKS:
                raise PeerFault("a dag-pb node with links in two places")
            if len(links) == MAX_LINKS:
                raise LimitExceeded("links in a dag-pb node", MAX_LINKS)
            links.append(_link(block, start, stop))
        elif tag == _DATA:
            if data is not None:
                raise PeerFault("a dag-pb node with data twice")
            data = block[start:stop]
        else:
            raise PeerFault(f"a dag-pb node with an unknown field, of tag {tag}")
        at, before = stop, tag
    return PbNode(tuple(links), data)


def _extent(block: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the field behind the length at `at` begins and ends."""
    size, start = decode_uvarint(block, at)
    if size > end - start:
        raise PeerFault("a dag-pb field is cut short")
    return start, start + size


def _link(block: bytes, at: int, end: int) -> PbLink:
    if at == end or block[at] != _HASH:
        raise PeerFault("a dag-pb link without a hash")
    start, at = _extent(block, at + 1, end)
    cid, name, tree_bytes = block[start:at], None, None
    if at < end and block[at] == _NAME:
        start, at = _extent(block, at + 1, end)
        name = block[start:at]
    if at < end and block[at] == _TSIZE:
        tree_bytes, at = decode_uvarint(block, at + 1)
    if at != end:
        raise PeerFault("a dag-pb link with other fields, or in another order")
    return PbLink(cid, name, tree_bytes)


def encode_pb_link(link: PbLink) -> bytes:
    """A link as it stands in its node, with the node's tag and length."""
    cid, name, tree_bytes = link
    parts = [b"\x0a", encode_uvarint(len(cid)), cid]
    if name is not None:
        parts += (b"\x12", encode_uvarint(len(name)), name)
    if tree_bytes is not None:
        parts += (b"\x18", encode_uvarint(tree_bytes))
    body = b"".join(parts)
    return b"".join((b"\x12", encode_uvarint(len(body)), body))


def encode_pb_node(links: Iterable[PbLink], data: bytes | None) -> bytes:
    """The node's block, links first."""
    parts = [encode_pb_link(link) for link in links]
    if data is not None:
        parts += (b"\x0a", encode_uvarint(len(data)), data)
    return b"".join(parts)
