"""The message in the data of a UnixFS node (`Data` in unixfs.proto), as protobuf, before its rules.

Fields come in any order. A known field that comes twice is refused, because readers differ in which one
counts; unknown ones are skipped, as mode and mtime were before they had a meaning. Source: ipfs/specs,
unixfs.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.dag_pb import MAX_LINKS
from fastmarket.formats.varint import decode_protobuf_varint, encode_uvarint

MAX_SPARE_FIELDS = 64
"""In a message, of fields that have no meaning yet, and of lists of packed numbers, of which one is enough:
each costs a reader time, and needs no more than two bytes."""

_UNPACKED_SIZE = 0x20  # the tag of a block size on its own, of which a file has one for each link
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
_64_BITS = (1 << 64) - 1
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_WIRE_TYPES = {
    **dict.fromkeys((_TYPE, _FILESIZE, _HASH_TYPE, _FANOUT, _MODE), _VARINT),
    **dict.fromkeys((_DATA, _MTIME), _BYTES),
}


class NodeKind(IntEnum):
    """The type of a UnixFS node; numbers as in its message."""

    RAW = 0  # a leaf of old writers
    DIRECTORY = 1
    FILE = 2
    METADATA = 3  # reserved
    SYMLINK = 4
    HAMT = 5  # a shard of a directory


class UnixfsMessage(NamedTuple):
    """`file_bytes` is None if the message does not tell it; sizes are below 2^64 and otherwise unchecked."""

    kind: NodeKind
    data: bytes = b""
    file_bytes: int | None = None
    block_bytes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None


def decode_message(raw: bytes) -> UnixfsMessage:
    """The message that fills `raw`. Raises PeerFault if it is malformed, or has no type that is known."""
    numbers: dict[int, int] = {}
    data: dict[int, bytes] = {}
    sizes: list[int] = []
    at, end, spare = 0, len(raw), 0
    while at < end:
        if raw[at] == _UNPACKED_SIZE:
            at = _add_size(raw, at + 1, sizes)
            continue
        tag, at = decode_protobuf_varint(raw, at)
        field, wire_type = tag >> 3, tag & 7
        start, at = _value(raw, at, wire_type)
        if field not in _WIRE_TYPES:
            spare += 1
            if spare > MAX_SPARE_FIELDS:
                raise LimitExceeded("spare fields in a UnixFS node", MAX_SPARE_FIELDS)
            if field == _BLOCKSIZES and wire_type == _BYTES:
                _unpack(raw[start:at], sizes)
        elif wire_type != _WIRE_TYPES[field]:
            raise PeerFault(f"UnixFS field {field} of wire type {wire_type}")
        elif field in numbers or field in data:
            raise PeerFault(f"UnixFS field {field} twice")
        elif wire_type == _BYTES:
            data[field] = raw[start:at]
        else:
            numbers[field] = start
    try:
        kind = NodeKind(numbers.get(_TYPE, -1))
    except ValueError:
        raise PeerFault("a UnixFS node without a type that is known") from None
    given = numbers.get
    return UnixfsMessage(
        kind, data.get(_DATA, b""), given(_FILESIZE), tuple(sizes), given(_HASH_TYPE), given(_FANOUT)
    )


def _value(raw: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """The number, or for bytes where they begin; and where the field ends."""
    if wire_type in _FIXED_SIZES:
        start, size = 0, _FIXED_SIZES[wire_type]
        stop = at + size
    else:
        start, stop = decode_protobuf_varint(raw, at)
        start &= _64_BITS
        if wire_type == _BYTES:
            start, stop = stop, stop + start
        elif wire_type != _VARINT:
            raise PeerFault(f"a UnixFS field of wire type {wire_type}")
    if stop > len(raw):
        raise PeerFault("a UnixFS field is cut short")
    return start, stop


def _unpack(packed: bytes, sizes: list[int]) -> None:
    at = 0
    while at < len(packed):
        at = _add_size(packed, at, sizes)


def _add_size(raw: bytes, at: int, sizes: list[int]) -> int:
    """Where the number at `at` ends."""
    if len(sizes) == MAX_LINKS:
        raise LimitExceeded("block sizes in a UnixFS node", MAX_LINKS)
    size, at = decode_protobuf_varint(raw, at)
    sizes.append(size & _64_BITS)
    return at


def encode_message(message: UnixfsMessage) -> bytes:
    """The message as go-ipfs writes it: in order of the fields, block sizes unpacked, empty data left out."""
    parts = [b"\x08", encode_uvarint(message.kind)]
    if message.data:
        parts += (b"\x12", encode_uvarint(len(message.data)), message.data)
    if message.file_bytes is not None:
        parts += (b"\x18", encode_uvarint(message.file_bytes))
    for size in message.block_bytes:
        parts += (b"\x20", encode_uvarint(size))
    if message.hash_type is not None:
        parts += (b"\x28", encode_uvarint(message.hash_type))
    if message.fanout is not None:
        parts += (b"\x30", encode_uvarint(message.fanout))
    return b"".join(parts)
