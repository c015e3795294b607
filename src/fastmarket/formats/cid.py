"""Content identifiers: a value, its text and bytes, and what a caller's `fileHash` names.

Sources: multiformats/cid; multiformats/multicodec table.csv for the codecs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.multibase import PREFIXES, decode_loosely, decode_multibase
from fastmarket.formats.multicodec import CODECS, hash_function
from fastmarket.formats.varint import decode_uvarint
from fastmarket.native.cid import (
    MAX_MULTIHASH_BYTES,
    check_multihash,
    decode_cid,
    decode_cid_bytes,
    encode_cid_bytes_v1,
    encode_cid_v0,
    encode_cid_v1,
)
from fastmarket.native.sha256 import sha256

SHA2_256_PREFIX = b"\x12\x20"
"""Multihash header of a 32-byte sha2-256 digest: its code and its length."""
SHA2_256_BYTES = 34  # of such a multihash
MIN_DIGEST_BYTES = 20  # boxo, verifcid: what IPFS takes for a digest that tells contents apart

MAX_FILE_HASH_BYTES = 1024
"""UTF-8 bytes of a `fileHash`; what clients of the first system send is a hash or a short name."""

_V0_CHARS = 46
_USUAL = ("Qm", "ba", "zd", "zb", "f01", "BA", "F01")  # how what `decode_cid` reads begins, nearly always
# Where the first byte stands in the second character: those of versions 1 and 0. Words have others, mostly.
_SECOND = {
    **dict.fromkeys("bBcC", "aAcC"),
    **dict.fromkeys("vVtT", "02"),
    **dict.fromkeys("fF", "01"),
    **dict.fromkeys("mMuU", "AE"),
}
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_MAX_CODEC = (1 << 63) - 1  # unsigned varints of the multiformats end at nine bytes


class Codec(IntEnum):
    """What the block behind a CID holds."""

    RAW = 0x55  # bytes as they are
    DAG_PB = 0x70  # a protobuf node of UnixFS
    LIBP2P_KEY = 0x72  # a peer id


CidForm: TypeAlias = tuple[int, int]
"""Version and codec: what a CID says beside its multihash."""


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
        """Parse a CID in any multibase; CallerFault("cid", ...) where it is none, or cannot be used."""
        try:
            cid = cls(*decode_cid(text))
        except ValueError as fault:
            if text[:1] not in PREFIXES:
                raise CallerFault("cid", str(fault)) from None
            cid = cls._from_rare_text(text)
        code, at = decode_uvarint(cid.multihash)
        unusable = _digest_fault(code, decode_uvarint(cid.multihash, at)[0])
        if unusable:
            raise CallerFault("cid", unusable)
        return cid

    @classmethod
    def _from_rare_text(cls, text: str) -> Cid:
        if len(text) > MAX_FILE_HASH_BYTES:
            raise CallerFault("cid", f"is longer than {MAX_FILE_HASH_BYTES} characters")
        try:
            return cls(*decode_cid_bytes(decode_multibase(text)))
        except ValueError as fault:
            raise CallerFault("cid", str(fault)) from None

    @classmethod
    def from_link(cls, text: str) -> Cid:
        """As `from_text`, in any form that a CID is copied in (`named`); CallerFault("cid", ...)."""
        try:
            cid = _cid_within(text.strip())
        except CallerFault as fault:
            raise CallerFault("cid", fault.reason) from None
        return cls.from_text(text) if cid is None else cid

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cid:
        """Parse a binary CID that fills `raw`; PeerFault where it is none."""
        try:
            return cls(*decode_cid_bytes(raw))
        except ValueError as fault:
            raise PeerFault(f"malformed CID: {fault}") from None

    @property
    def form(self) -> CidForm:
        """What it says beside its multihash."""
        return self.version, self.codec

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


class NamedBy(IntEnum):
    """How a text names its content; numbers as in proto/fastmarket/v1/market.proto."""

    CID = 1
    SHA256 = 2  # 64 hex digits
    TEXT_HASH = 3  # by its own SHA-256: a name that only who knows the text finds


class Named(NamedTuple):
    """The content that a text names: its multihash, and the `form` of the CID if it was one."""

    multihash: bytes
    by: NamedBy
    form: CidForm | None

    @property
    def cid(self) -> str:
        """As `cid_text`."""
        return cid_text(self.multihash, self.form)


def cid_text(multihash: bytes, form: CidForm | None) -> str:
    """The usual text of a content's CID. Of one that was not named by a CID the bytes themselves are meant:
    a CIDv1 of codec raw."""
    if form is None:
        return encode_cid_v1(Codec.RAW, multihash)
    return encode_cid_v1(form[1], multihash) if form[0] else encode_cid_v0(multihash)


def cid_form(version: int, codec: int, multihash: bytes) -> CidForm | None:
    """The form, None where there is no such CID of the multihash (or of a version that is not known yet)."""
    if version == 1:
        return (version, codec) if codec <= _MAX_CODEC else None
    is_v0 = version == 0 and codec == Codec.DAG_PB and len(multihash) == SHA2_256_BYTES
    return (version, codec) if is_v0 and multihash.startswith(SHA2_256_PREFIX) else None


def content_multihash(text: str) -> bytes:
    """The multihash a `fileHash` names (see `named`); it is the content's key in the DHT."""
    return named(text).multihash


def named(text: str) -> Named:
    """What a `fileHash` names: a CID its own multihash, 64 hex digits a sha2-256 one, blanks around left out.

    A CID stands by itself in any multibase, or as it is copied: `ipfs://CID`, `/ipfs/CID`, a gateway's
    `https://HOST/ipfs/CID` or `CID.ipfs.HOST`, each with or without a slash behind. Any other text is hashed
    as UTF-8, just as it is. CallerFault("fileHash", ...) where it is empty, above MAX_FILE_HASH_BYTES, not
    Unicode, a CID that cannot be used, or a CID with a path behind it.
    """
    if text.startswith(_USUAL):
        try:
            version, codec, multihash = decode_cid(text)
            # Nearly all are; whether others are one by chance is looked at with care.
            if len(multihash) == SHA2_256_BYTES and multihash.startswith(SHA2_256_PREFIX):
                return Named(multihash, NamedBy.CID, (version, codec))
        except ValueError:
            pass
    if not text:
        raise CallerFault("fileHash", "is empty")
    if len(text) > MAX_FILE_HASH_BYTES:
        raise _too_long()
    bare = text.strip()
    if len(bare) == 64 and _HEX_DIGEST.fullmatch(bare):
        return Named(SHA2_256_PREFIX + bytes.fromhex(bare), NamedBy.SHA256, None)
    cid = _cid_within(bare)
    if cid is not None:
        return Named(cid.multihash, NamedBy.CID, cid.form)
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise CallerFault("fileHash", "is not Unicode text") from None
    if len(encoded) > MAX_FILE_HASH_BYTES:
        raise _too_long()
    return Named(sha256_multihash(encoded), NamedBy.TEXT_HASH, None)


def _too_long() -> CallerFault:
    return CallerFault("fileHash", f"is longer than {MAX_FILE_HASH_BYTES} bytes")


# How a CID is copied: its URL, a gateway's with the CID in the host name, and whatever ends in a path. Behind
# these a CID stands, or the text is a mistake; with others it may be any text.
_URL = re.compile(r"ipfs://(?:ipfs/)?", re.IGNORECASE)
_SUBDOMAIN = re.compile(r"(?:https?://)?([^.:/?#@\s]+)\.ipfs\.[^/?#\s]+(.*)", re.IGNORECASE | re.DOTALL)
IPFS_PATH = "/ipfs/"  # go-cid reads what stands behind the first
_SLASHED = frozenset("mM")  # multibases with a slash among their digits
_MAX_SLASHES = 8  # looked at; a digest that ends in more is not met
_MEANT = "is not a CID behind "


def _cid_within(text: str) -> Cid | None:
    """The CID in one of its forms. CallerFault: there is one, but it cannot be used."""
    if "ipfs" not in text and "ipfs" not in text.lower():
        return _cid_before_path(_without_query(text))
    url, subdomain = _URL.match(text), _SUBDOMAIN.fullmatch(text)
    before, path, behind = text.partition(IPFS_PATH)
    if url is not None:
        return _cid_before_path(_without_query(text[url.end() :]), must_be=url[0])
    if subdomain is not None:
        return _cid_before_path(_without_query(subdomain[1] + subdomain[2]))
    if path:
        return _cid_before_path(_without_query(behind), must_be="" if before else path)
    return _cid_before_path(_without_query(text))


def _without_query(text: str) -> str:
    """A query says how a gateway is to send it, not what is meant."""
    return re.split("[?#]", text, maxsplit=1)[0] if "?" in text or "#" in text else text


def _cid_before_path(text: str, must_be: str = "") -> Cid | None:
    """`must_be`: what stood before `text` and says that it is one."""
    text, slashes = text.rstrip("/"), text
    head, _, path = text.partition("/")
    cid = _slashed_cid(slashes, len(text)) or _bare_cid(text)  # base64 has slashes within, too
    if cid is None and path:
        cid = _bare_cid(head)
        if cid is not None:
            reason = f"names a path behind the CID {head}, and paths are not sold"
            raise CallerFault("fileHash", f"{reason}; give the CID of the file itself")
    if cid is None and must_be:
        raise CallerFault("fileHash", _MEANT + must_be)
    return cid


def _slashed_cid(text: str, end: int) -> Cid | None:
    """One in base64 that ends in slashes; `end`: where these begin. How long a CID is stands in it."""
    if text[:1] not in _SLASHED or end == len(text):
        return None
    for more in range(end + 1, min(end + _MAX_SLASHES, len(text)) + 1):
        with suppress(CallerFault):
            if cid := _bare_cid(text[:more]):
                return cid
    return None


def _bare_cid(text: str) -> Cid | None:
    """The CID that `text` is. CallerFault: it is one that cannot be used."""
    if len(text) == _V0_CHARS and text.startswith("Qm"):
        try:
            return Cid(*decode_cid(text))
        except (ValueError, CallerFault):
            return None
    if text[:1] not in PREFIXES or text[1:2] not in _SECOND.get(text[0], text):
        return None
    try:
        raw, whole = decode_loosely(text)
    except ValueError:
        return None
    return _meant(raw, whole)


def _meant(raw: bytes, whole: bool) -> Cid | None:
    """The CID in the bytes behind a multibase, None where they are not one.

    Words decode in some multibase, too. What go-cid reads as a CID with a digest of MIN_DIGEST_BYTES or more
    is taken for one: of long words one in 65,536 at the most. One with a shorter digest, or cut short, counts
    as meant only where its codec and its function are known: of random bytes one in several millions.
    """
    if whole and len(raw) == SHA2_256_BYTES and raw.startswith(SHA2_256_PREFIX):
        return Cid(0, Codec.DAG_PB, raw)  # the specification has it without a multibase; go-cid reads both
    try:
        version, at = decode_uvarint(raw)
        codec, hash_at = decode_uvarint(raw, at)
        code, at = decode_uvarint(raw, hash_at)
        size, at = decode_uvarint(raw, at)
    except PeerFault:
        return None
    if version != 1:
        return None
    left, function = len(raw) - at, hash_function(code)
    proper = function is not None and function[1] <= size <= function[2]
    familiar = function is not None and codec in CODECS
    if not whole or left != size:
        if familiar and proper and size >= MIN_DIGEST_BYTES <= 2 * left:
            cut = f"cut short: {left} of {size} bytes of its digest are there"
            raise _unusable(cut if left < size else "followed by more, or with a wrong last character")
        return None
    if size < MIN_DIGEST_BYTES and not familiar:
        return None
    unusable = _digest_fault(code, size)
    if unusable:
        raise _unusable(unusable)
    return Cid(1, codec, _bounded(raw[hash_at:]))


def _digest_fault(code: int, size: int) -> str:
    """Why no content has such a digest; empty where it may."""
    function = hash_function(code)
    if function is not None and not function[1] <= size <= function[2]:
        return f"with a digest of {size} bytes, which {function[0]} has not"
    return "" if size else "with an empty digest, which names nothing"


def _bounded(multihash: bytes) -> bytes:
    if len(multihash) > MAX_MULTIHASH_BYTES:
        raise _unusable(
            f"with a multihash of {len(multihash)} bytes, where at most {MAX_MULTIHASH_BYTES} are a key"
        )
    return multihash


def _unusable(what: str) -> CallerFault:
    return CallerFault("fileHash", f"is a CID {what}")
