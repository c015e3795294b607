"""The name of a block, taken apart once: in a URL as text, in a link as bytes."""

from __future__ import annotations

from typing import NamedTuple

from fastmarket.errors import PeerFault
from fastmarket.formats.block import split_cid
from fastmarket.formats.cid import SHA2_256_BYTES, SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.multibase import decode_multibase
from fastmarket.formats.multicodec import IDENTITY
from fastmarket.formats.varint import decode_uvarint
from fastmarket.native.cid import decode_cid, encode_cid_bytes_v1, encode_cid_v0, encode_cid_v1

MAX_CID_CHARS = 512
"""Of a CID in a URL: base2 aside, the largest identity CID takes 290 in base16; decoding rare bases takes
time that grows with the square."""

_RAW_HEAD = bytes((1, Codec.RAW)) + SHA2_256_PREFIX
_DAG_PB_HEAD = bytes((1, Codec.DAG_PB)) + SHA2_256_PREFIX
_V1_BYTES = SHA2_256_BYTES + 2


class BlockName(NamedTuple):
    """`cid` in binary; `inline`: the block itself, if the CID contains it (identity), otherwise None."""

    cid: bytes
    codec: int
    multihash: bytes
    inline: bytes | None

    @property
    def text(self) -> str:
        """The canonical text of the CID."""
        if self.cid is self.multihash:
            return encode_cid_v0(self.multihash)
        return encode_cid_v1(self.codec, self.multihash)

    @property
    def as_cid(self) -> Cid:
        """The same as a value."""
        return Cid(0 if self.cid is self.multihash else 1, self.codec, self.multihash)


def named_by_link(cid: bytes) -> BlockName:
    """Takes a binary CID apart. Raises PeerFault."""
    if len(cid) == _V1_BYTES:
        if cid.startswith(_RAW_HEAD):
            return BlockName(cid, Codec.RAW, cid[2:], None)
        if cid.startswith(_DAG_PB_HEAD):
            return BlockName(cid, Codec.DAG_PB, cid[2:], None)
    parts = split_cid(cid)
    if parts.version == 0:
        return BlockName(cid, Codec.DAG_PB, cid, None)
    _, at = decode_uvarint(cid)
    _, at = decode_uvarint(cid, at)
    return BlockName(cid, parts.codec, cid[at:], parts.digest if parts.code == IDENTITY else None)


def named_by_text(text: str) -> BlockName:
    """Takes the text of a CID apart, in any multibase. Raises PeerFault."""
    if len(text) > MAX_CID_CHARS:
        raise PeerFault(f"a CID of more than {MAX_CID_CHARS} characters")
    try:
        version, codec, multihash = decode_cid(text)
    except ValueError:
        return _named_by_rare_text(text)
    if version == 0:
        return BlockName(multihash, Codec.DAG_PB, multihash, None)
    return named_by_link(encode_cid_bytes_v1(codec, multihash))


def _named_by_rare_text(text: str) -> BlockName:
    try:
        raw = decode_multibase(text)
    except ValueError:
        raise PeerFault("not a CID") from None
    name = named_by_link(raw)
    if name.cid is name.multihash:
        raise PeerFault("a CIDv0 has no multibase")
    return name
