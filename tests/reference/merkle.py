"""Twin of fastmarket.native.merkle and fastmarket.native.batch: the same in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from google.protobuf.message import DecodeError

from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody

HASH_BYTES = 32
LEAF_PREFIX = b"\x00fastmarket-offer"
NODE_PREFIX = b"\x01fastmarket-offer"


def merkle_tree(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The root over one or more leaves, and the path of each: the hashes beside it, lowest first, joined."""
    level = [sha256(LEAF_PREFIX + leaf).digest() for leaf in leaves]
    paths: list[list[bytes]] = [[] for _ in leaves]
    width = 1  # leaves under a node of this level
    while len(level) > 1:
        for index, path in enumerate(paths):
            beside = index // width ^ 1
            if beside < len(level):
                path.append(level[beside])
        odd = level[-1:] if len(level) % 2 else []  # moves up as it is
        pairs = zip(level[0::2], level[1::2], strict=False)
        level = [sha256(NODE_PREFIX + left + right).digest() for left, right in pairs] + odd
        width *= 2
    return level[0], [b"".join(path) for path in paths]


def merkle_root(leaf: bytes, index: int, count: int, path: bytes) -> bytes | None:
    if not 0 <= index < count:
        return None
    node, at, last, offset = sha256(LEAF_PREFIX + leaf).digest(), index, count - 1, 0
    while last:
        if at % 2 or at < last:
            beside = path[offset : offset + HASH_BYTES]
            if len(beside) < HASH_BYTES:
                return None
            offset += HASH_BYTES
            node = sha256(NODE_PREFIX + (beside + node if at % 2 else node + beside)).digest()
        at, last = at // 2, last // 2
    return node if offset == len(path) else None


def split_batched(signed: bytes) -> tuple[bytes, int, bytes, bytes]:
    batch, at = _field(signed, 0, 0x5A)
    if signed[at : at + 1] != b"\x60":
        raise ValueError("batched offer without an index")
    index, at = _uvarint(signed, at + 1)
    path, at = _field(signed, at, 0x6A)
    body, at = _field(signed, at, 0x72)
    if at != len(signed):
        raise ValueError("bytes behind a batched offer")
    return batch, index, path, body


def claims(signed: bytes) -> tuple[bytes, bytes, bytes, int, int, int] | None:
    try:
        if signed[:1] == b"\x0a":
            _, at = _field(signed, 0, 0x0A)
            _, at = _field(signed, at, 0x12)
            raw, at = _field(signed, at, 0x1A)
            _, at = _field(signed, at, 0x2A)
            if at != len(signed):
                return None
        else:
            _, _, _, raw = split_batched(signed)
    except ValueError:
        return None
    found = body(raw)
    return None if found is None else (*found[:3], *found[9:12])


def split_store(request: bytes) -> tuple[list[bytes], list[bytes]] | None:
    offers: list[bytes] = []
    whole: list[bytes] = []
    try:
        store, at = _field(request, 0, 0x0A)
        if at != len(request):
            return None
        at = 0
        while at < len(store):
            into, tag = (offers, 0x0A) if store[at] == 0x0A else (whole, 0x12)
            value, at = _field(store, at, tag)
            into.append(value)
    except ValueError:
        return None
    return offers, whole


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise ValueError("varint is not minimal")
            return value, at
        shift += 7
        if shift == 63:
            raise ValueError("varint longer than 9 bytes")
    raise ValueError("varint is cut short")


def _field(signed: bytes, at: int, tag: int) -> tuple[bytes, int]:
    if signed[at : at + 1] != bytes((tag,)):
        raise ValueError("batched offer with other fields, or in another order")
    size, at = _uvarint(signed, at + 1)
    if at + size > len(signed):
        raise ValueError("batched offer is cut short")
    return signed[at : at + size], at + size


def batch_of(signed: bytes) -> bytes:
    try:
        return _field(signed, 0, 0x5A)[0]
    except ValueError:
        return signed


def body(raw: bytes) -> tuple[Any, ...] | None:
    """What protobuf reads; None where it cannot."""
    try:
        read = OfferBody.FromString(raw)
    except DecodeError:
        return None
    return (
        read.content,
        read.provider,
        read.user_id,
        read.user_name,
        read.ip,
        read.port,
        read.price_per_mb,
        read.size if read.HasField("size") else None,
        read.name if read.HasField("name") else None,
        read.seq,
        read.issued_at,
        read.not_after,
        read.withdrawn,
        read.codec if read.HasField("codec") else None,
        read.version if read.HasField("version") else None,
        read.ways,
        read.url,
    )


def split_whole(data: bytes) -> tuple[bytes, list[bytes]]:
    """Envelope and bodies of a WholeBatch."""
    envelope, at = _field(data, 0, 0x5A)
    bodies = []
    while at < len(data):
        if len(bodies) == 256:
            raise ValueError("a batch of too many offers")
        body, at = _field(data, at, 0x72)
        bodies.append(body)
    if len(bodies) < 2:
        raise ValueError("a batch of too few offers")
    return envelope, bodies


def encode_body(*fields: Any) -> bytes:
    names = [field.name for field in OfferBody.DESCRIPTOR.fields]
    told = {name: value for name, value in zip(names, fields, strict=True) if value is not None}
    return OfferBody(**told).SerializeToString(deterministic=True)
