"""CARv1: a stream of blocks, each behind its CID. Written piece by piece, read as it arrives.

What a reader is given is verified block by block. Whether it is all that was asked for only a walk over the
tree tells: a stream may end between two blocks at any time. Identity CIDs are no sections of their own;
writers leave them out. Source: ipld.io specs, transport/car/carv1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES, read_cid, split_cid, verify_block
from fastmarket.formats.cid import Cid
from fastmarket.formats.dag_cbor import encode_head, read_head
from fastmarket.formats.varint import FrameDecoder, encode_uvarint

MAX_HEADER_BYTES = 64 * 1024
"""Of a header; one root has 59 bytes, and an answer has one root."""

MAX_SECTION_BYTES = MAX_BLOCK_BYTES + 256
"""Of a block and its CID, which has at most 155 bytes."""

_UNSIGNED, _BYTES, _TEXT, _LIST, _MAP, _TAG = 0, 2, 3, 4, 5, 6  # major types of CBOR
_LINK = 42
_VERSION_KEY, _ROOTS_KEY = b"version", b"roots"


class CarSection(NamedTuple):
    """A block behind its binary CID."""

    cid: bytes
    block: bytes


def encode_car_header(roots: Iterable[Cid | bytes]) -> bytes:
    """The beginning of a stream; bytes are binary CIDs."""
    links = [b"\0" + _raw(root) for root in roots]  # a CID in CBOR follows the multibase prefix of none
    body = [encode_head(_MAP, 2), _text(_ROOTS_KEY), encode_head(_LIST, len(links))]
    for link in links:
        body += (encode_head(_TAG, _LINK), encode_head(_BYTES, len(link)), link)
    body += (_text(_VERSION_KEY), encode_head(_UNSIGNED, 1))
    header = b"".join(body)
    return encode_uvarint(len(header)) + header


def encode_car_section(cid: Cid | bytes, block: bytes) -> bytes:
    """One block of a stream."""
    return car_section_head(cid, len(block)) + block


def car_section_head(cid: Cid | bytes, block_bytes: int) -> bytes:
    """What stands before a block of that length, for writers that send its bytes on their own."""
    raw = _raw(cid)
    return encode_uvarint(len(raw) + block_bytes) + raw


def _raw(cid: Cid | bytes) -> bytes:
    return cid.raw if isinstance(cid, Cid) else cid


def _text(key: bytes) -> bytes:
    return encode_head(_TEXT, len(key)) + key


class CarReader:
    """Reads a stream in pieces of any size; holds at most one section.

    `roots` is empty before the header is there, and says nothing about the blocks that follow. After a
    PeerFault the stream is over.
    """

    __slots__ = ("_began", "_frames", "_verify", "roots")

    def __init__(self, *, verify: bool = True) -> None:
        """`verify` false leaves it to the caller to compare blocks with their CIDs."""
        self.roots: tuple[bytes, ...] = ()
        self._began = False
        self._verify = verify
        self._frames = FrameDecoder(MAX_SECTION_BYTES)

    def feed(self, data: bytes) -> list[CarSection]:
        """The sections completed by `data`, in order. Raises PeerFault if the stream is malformed, of another
        version, exceeds a bound, or has a block that is not the one of its CID."""
        sections = []
        for body in self._frames.feed(data):
            if self._began:
                sections.append(self._section(body))
            else:
                self.roots = _decode_header(body)
                self._began = True
        if not self._began and self._frames.pending > MAX_HEADER_BYTES:
            raise LimitExceeded("bytes in a CAR header", MAX_HEADER_BYTES)
        return sections

    def finish(self) -> None:
        """Takes the end of the stream. Raises PeerFault if it has no header, or ends within a section."""
        if not self._began or self._frames.pending:
            raise PeerFault("a CAR stream is cut short")

    def _section(self, body: bytes) -> CarSection:
        _, end = read_cid(body, 0)
        section = CarSection(body[:end], body[end:])
        if self._verify and not verify_block(*section):
            raise PeerFault("a block in a CAR stream that is not the one of its CID")
        return section


def _decode_header(raw: bytes) -> tuple[bytes, ...]:
    """The roots."""
    if len(raw) > MAX_HEADER_BYTES:
        raise LimitExceeded("bytes in a CAR header", MAX_HEADER_BYTES, len(raw))
    major, count, at = read_head(raw, 0)
    if major != _MAP or not 1 <= count <= 2:
        raise PeerFault("a CAR header is a map of roots and version")
    version: int | None = None
    roots: tuple[bytes, ...] | None = None
    for _ in range(count):
        key, at = _take(raw, at, _TEXT)
        if key == _VERSION_KEY and version is None:
            version, at = _number(raw, at, _UNSIGNED)
        elif key == _ROOTS_KEY and roots is None:
            roots, at = _roots(raw, at)
        else:
            raise PeerFault("a CAR header with other fields")
    if version != 1:
        raise PeerFault(f"a CAR stream of version {version}")
    if roots is None or at != len(raw):
        raise PeerFault("a CAR header without roots, or with other bytes behind it")
    return roots


def _roots(raw: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    count, at = _number(raw, at, _LIST)
    roots = []
    for _ in range(count):
        tag, at = _number(raw, at, _TAG)
        link, at = _take(raw, at, _BYTES)
        if tag != _LINK or link[:1] != b"\0":
            raise PeerFault("a root that is not a CID")
        split_cid(link[1:])
        roots.append(link[1:])
    return tuple(roots), at


def _number(raw: bytes, at: int, wanted: int) -> tuple[int, int]:
    major, number, at = read_head(raw, at)
    if major != wanted:
        raise PeerFault("a CAR header with a value of another type")
    return number, at


def _take(raw: bytes, at: int, wanted: int) -> tuple[bytes, int]:
    size, at = _number(raw, at, wanted)
    if size > len(raw) - at:
        raise PeerFault("a CAR header is cut short")
    return raw[at : at + size], at + size
