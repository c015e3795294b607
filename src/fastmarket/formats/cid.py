"""Content identifiers: a value, its text and bytes, and what a caller's `fileHash` names.

Sources: multiformats/cid; multiformats/multicodec table.csv for the codecs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from fastmarket._cid import (
    MAX_TEXT_CHARS,
    check_multihash,
    decode_cid,
    decode_cid_bytes,
    encode_cid_bytes_v1,
    encode_cid_v0,
    encode_cid_v1,
)
from fastmarket._sha256 import sha256
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.multibase import decode_multibase

SHA2_256_PREFIX = b"\x12\x20"
"""Multihash header of a 32-byte sha2-256 digest: its code and its length."""

MAX_FILE_HASH_BYTES = 1024
"""UTF-8 bytes of a `fileHash`; what clients of the first system send is a hash or a short name."""

_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_MAX_CODEC = (1 << 63) - 1  # unsigned varints of the multiformats end at nine bytes


class Codec(IntEnum):
    """What the block behind a CID holds."""

    RAW = 0x55  # bytes as they are
    DAG_PB = 0x70  # a protobuf node of UnixFS
    LIBP2P_KEY = 0x72  # a peer id


@dataclass(frozen=True, slots=True)
class Cid:
    """A CIDv0 or CIDv1; `multihash` is whole: code, length, digest."""

    version: int
    codec: int
    multihash: bytes

    def __post_init__(self) -> None:
        if self.version not in (0, 1):
            raise CallerFault("cid", f"version is 0 or 1, not {self.version}")
        if not 0 <= self.codec <= _MAX_CODEC:
            raise CallerFault("cid", "codec is not a 63-bit number")
        if self.version == 0 and self.codec != Codec.DAG_PB:
            raise CallerFault("cid", "a CIDv0 is a dag-pb node")
        try:
            check_multihash(self.multihash)
        except ValueError as fault:
            raise CallerFault("cid", str(fault)) from None
        if self.version == 0 and not self.multihash.startswith(SHA2_256_PREFIX):
            raise CallerFault("cid", "a CIDv0 is a sha2-256 multihash")

    @classmethod
    def from_text(cls, text: str) -> Cid:
        """Parse a CID in any multibase; CallerFault("cid", ...) where it is none."""
        try:
            return cls(*decode_cid(text))
        except ValueError as fault:
            raw = _other_multibase(text)
            if raw is None:
                raise CallerFault("cid", str(fault)) from None
        try:
            return cls(*_decode_v1(raw))
        except ValueError as fault:
            raise CallerFault("cid", str(fault)) from None

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cid:
        """Parse a binary CID that fills `raw`; PeerFault where it is none."""
        try:
            return cls(*decode_cid_bytes(raw))
        except ValueError as fault:
            raise PeerFault(f"malformed CID: {fault}") from None

    @property
    def raw(self) -> bytes:
        """The binary form, as a dag-pb link holds it."""
        return self.multihash if self.version == 0 else encode_cid_bytes_v1(self.codec, self.multihash)

    def __str__(self) -> str:
        """The usual text: base58btc of a CIDv0, base32 of a CIDv1."""
        return (
            encode_cid_v0(self.multihash) if self.version == 0 else encode_cid_v1(self.codec, self.multihash)
        )


def sha256_multihash(data: bytes) -> bytes:
    """The 34-byte sha2-256 multihash of `data`."""
    return SHA2_256_PREFIX + sha256(data)


def new_cidv0(data: bytes) -> Cid:
    """The CIDv0 of the multihash of these very bytes (not of a UnixFS node around them)."""
    return Cid(0, Codec.DAG_PB, sha256_multihash(data))


def content_multihash(text: str) -> bytes:
    """The multihash a `fileHash` names; it is the content's key in the DHT.

    A CID names its own multihash and 64 hex digits a sha2-256 one; any other text is hashed as UTF-8.
    CallerFault("fileHash", ...) where it is empty, above MAX_FILE_HASH_BYTES, or not Unicode.
    """
    if not text:
        raise CallerFault("fileHash", "is empty")
    if len(text) > MAX_FILE_HASH_BYTES:
        raise CallerFault("fileHash", f"is longer than {MAX_FILE_HASH_BYTES} bytes")
    if _HEX_DIGEST.fullmatch(text):
        return SHA2_256_PREFIX + bytes.fromhex(text)
    try:
        return Cid.from_text(text).multihash
    except CallerFault:
        pass
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise CallerFault("fileHash", "is not Unicode text") from None
    if len(encoded) > MAX_FILE_HASH_BYTES:
        raise CallerFault("fileHash", f"is longer than {MAX_FILE_HASH_BYTES} bytes")
    return sha256_multihash(encoded)


# Multibases of CIDs in the wild beside the compiled ones; the rest of the registry is drafts and toys.
_OTHER_MULTIBASES = {
    "k": "base36",
    "K": "base36upper",
    "v": "base32hex",
    "m": "base64",
    "u": "base64url",
    "Z": "base58flickr",
}


def _other_multibase(text: str) -> bytes | None:
    """The bytes behind a multibase that is not compiled, None where it is not such text."""
    if not 2 <= len(text) <= MAX_TEXT_CHARS or text[0] not in _OTHER_MULTIBASES or not text.isascii():
        return None
    try:
        return decode_multibase(text)
    except ValueError:
        return None


def _decode_v1(raw: bytes) -> tuple[int, int, bytes]:
    version, codec, multihash = decode_cid_bytes(raw)
    if version == 0:
        raise ValueError("CIDv0 in a multibase")
    return version, codec, multihash
