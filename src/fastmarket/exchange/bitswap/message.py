"""What a Bitswap message says, and its bytes. Each is preceded on the stream by its length, a uvarint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.block import MAX_DIGEST_BYTES, split_cid
from fastmarket.formats.multicodec import IDENTITY
from fastmarket.formats.varint import decode_protobuf_varint, decode_uvarint, encode_uvarint
from fastmarket.native.cid import decode_cid_bytes
from fastmarket.pb.libp2p.bitswap_pb2 import Message

MAX_MESSAGE_BYTES = 4 << 20  # spec, "Bitswap 1.0.0: wire format"; boxo and Helia enforce it
MAX_CID_BYTES = 168  # boxo, bitswap/server: MaxCidSize; longer ones are not answered
# Of a wantlist that are looked at, 3 us each; no more than 1,024 wants of a peer wait in any case.
MAX_ENTRIES = 8192
CIDV0_PREFIX = b"\x00\x70\x12\x20"  # version 0, dag-pb, sha2-256, 32 bytes: of blocks in version 1.0.0
_FAULT = "bitswap"

_Wantlist = Message.Wantlist
_HAVE, _DONT_HAVE = Message.HAVE, Message.DONT_HAVE


# Tags of fields, all of bytes: of a block in a message, its prefix, its data; of a block of version 1.0.0.
_PAYLOAD_TAG, _PREFIX_TAG, _DATA_TAG, _BLOCKS_TAG = b"\x1a", b"\x0a", b"\x12", b"\x12"
_NO_WANTS = b"\x0a\x00"
_MAX_PAYLOAD_HEAD = 256  # bytes before the data that are looked at


class WireForm(Enum):
    """What a version of the protocol can say."""

    PRESENCES = "1.2.0"  # who has a block
    PREFIXES = "1.1.0"  # blocks of any CID
    BLOCKS = "1.0.0"  # blocks of a CIDv0


PROTOCOLS: dict[str, WireForm] = {
    "/ipfs/bitswap/1.2.0": WireForm.PRESENCES,
    "/ipfs/bitswap/1.1.0": WireForm.PREFIXES,
    "/ipfs/bitswap/1.0.0": WireForm.BLOCKS,
    "/ipfs/bitswap": WireForm.BLOCKS,
}
"""In the order of our preference. There is no 1.3.0: others use that id for protocols of their own."""


class BlockWant(NamedTuple):
    """A peer wants the block of `cid`, or with `only_presence` to be told whether we have it. `multihash` is
    the one of the CID; of wants with a higher `priority` the peer wants the answers first."""

    cid: bytes
    multihash: bytes
    priority: int = 1
    only_presence: bool = False
    tells_absence: bool = False  # the peer wants to be told, too, when we do not have it


class BlockPayload(NamedTuple):
    """A block. `prefix` is its CID without the digest: version, codec, hash code and digest length as
    varints."""

    prefix: bytes
    data: bytes


class BitswapMessage(NamedTuple):
    """One message. `is_full`: `wants` are all that the peer wants now."""

    wants: Sequence[BlockWant] = ()
    cancels: Sequence[bytes] = ()  # CIDs
    is_full: bool = False
    payloads: Sequence[BlockPayload] = ()
    haves: Sequence[bytes] = ()  # CIDs
    absent: Sequence[bytes] = ()  # CIDs


def decode_message(body: bytes) -> BitswapMessage:
    """Raises PeerFault if it is not one. CIDs that are too long or of identity are left out, as boxo does,
    and entries of a wantlist beyond MAX_ENTRIES."""
    payloads, rest = _split(body)
    message = Message()
    try:
        message.ParseFromString(rest)
        payloads += [BlockPayload(block.prefix, block.data) for block in message.payload]
    except DecodeError:
        raise PeerFault("malformed message", protocol=_FAULT) from None
    wants, cancels = [], []
    for entry in islice(message.wantlist.entries, MAX_ENTRIES):
        cid = entry.block
        multihash = multihash_of(cid)
        if multihash is None:
            continue
        if entry.cancel:
            cancels.append(cid)
        else:
            only_presence = entry.wantType == _Wantlist.HAVE
            wants.append(BlockWant(cid, multihash, entry.priority, only_presence, entry.sendDontHave))
    payloads += [BlockPayload(CIDV0_PREFIX, block) for block in message.blocks]
    presences = message.blockPresences
    haves = [one.cid for one in presences if one.type == _HAVE]
    absent = [one.cid for one in presences if one.type == _DONT_HAVE]
    return BitswapMessage(wants, cancels, message.wantlist.full, payloads, haves, absent)


def _split(body: bytes) -> tuple[list[BlockPayload], bytes]:
    """The payloads at the beginning of a message, and what follows: protobuf would copy each block twice.
    What does not look as everybody writes it is left to protobuf."""
    payloads = []
    at = len(_NO_WANTS) if body.startswith(_NO_WANTS) else 0  # as boxo begins
    while body[at : at + 1] == _PAYLOAD_TAG:
        size, start = decode_protobuf_varint(body, at + 1)
        end = start + size
        head = body[start : start + _MAX_PAYLOAD_HEAD]
        if end > len(body) or head[:1] != _PREFIX_TAG or len(head) < 2:
            break
        data_at = 2 + head[1]
        if head[1] >= 0x80 or head[data_at : data_at + 1] != _DATA_TAG:
            break
        length, data_start = decode_protobuf_varint(body, start + data_at + 1)
        if data_start + length != end:
            break
        payloads.append(BlockPayload(head[2:data_at], body[data_start:end]))
        at = end
    return payloads, body[at:]


def multihash_of(cid: bytes) -> bytes | None:
    """The multihash of a binary CID; None if it is one that nobody serves: too long, of identity (the CID
    contains the block), or with a digest too long for a content here. Raises PeerFault if it is not a CID."""
    if len(cid) > MAX_CID_BYTES:
        return None
    try:
        multihash = decode_cid_bytes(cid)[2]
    except ValueError:
        split_cid(cid)
        return None
    return None if multihash[0] == IDENTITY else multihash


def prefix_of(cid: bytes, multihash: bytes) -> bytes:
    """The CID without its digest, which fills the rest of the multihash."""
    if len(cid) == len(multihash):
        return CIDV0_PREFIX
    head = decode_uvarint(multihash, decode_uvarint(multihash)[1])[1]
    return cid[: len(cid) - len(multihash) + head]


def read_prefix(prefix: bytes) -> tuple[int, int]:
    """(hash code, digest length) of a payload. Raises PeerFault."""
    version, at = decode_uvarint(prefix)
    _, at = decode_uvarint(prefix, at)  # the codec: a block is matched by its multihash
    code, at = decode_uvarint(prefix, at)
    length, at = decode_uvarint(prefix, at)
    if version > 1 or at != len(prefix) or length > MAX_DIGEST_BYTES:
        raise PeerFault("malformed prefix of a block", protocol=_FAULT)
    return code, length


def encode_wants(
    wants: Iterable[BlockWant], cancels: Iterable[bytes], form: WireForm, *, is_full: bool = False
) -> bytes:
    """The message, without its length. Versions before 1.2.0 know no presence: there those wants are left
    out."""
    message = Message()
    entries = message.wantlist.entries
    message.wantlist.full = is_full
    for want in wants:
        if form is WireForm.PRESENCES:
            kind = _Wantlist.HAVE if want.only_presence else _Wantlist.BLOCK
            entries.add(
                block=want.cid, priority=want.priority, wantType=kind, sendDontHave=want.tells_absence
            )
        elif not want.only_presence:
            entries.add(block=want.cid, priority=want.priority)
    for cid in cancels:
        entries.add(block=cid, cancel=True)
    return message.SerializeToString()


def encode_answer(
    haves: Iterable[bytes],
    absent: Iterable[bytes],
    payloads: Iterable[BlockPayload],
    form: WireForm,
) -> list[bytes]:
    """A message with its length, in parts to be sent one after the other: blocks stand there as they are,
    since a protobuf message would copy each of them twice. Empty if that version can say nothing of it."""
    head = b""  # what stands before the next block
    if form is WireForm.PRESENCES:
        message = Message()
        for cid in haves:
            message.blockPresences.add(cid=cid, type=_HAVE)
        for cid in absent:
            message.blockPresences.add(cid=cid, type=_DONT_HAVE)
        head = message.SerializeToString()
    parts: list[bytes] = []
    for prefix, block in payloads:
        if form is not WireForm.BLOCKS:
            inner = b"".join(
                (_PREFIX_TAG, encode_uvarint(len(prefix)), prefix, _DATA_TAG, encode_uvarint(len(block)))
            )
            head += _PAYLOAD_TAG + encode_uvarint(len(inner) + len(block)) + inner
        elif prefix == CIDV0_PREFIX:
            head += _BLOCKS_TAG + encode_uvarint(len(block))
        else:
            continue
        parts += (head, block)
        head = b""
    parts = parts or [head]
    size = sum(map(len, parts))
    parts[0] = encode_uvarint(size) + parts[0]
    return parts if size else []
