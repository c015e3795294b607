"""One signature over many offers: what is signed, and how an offer of a batch travels by itself.

The leaves of a Merkle tree are the bodies; a signed envelope holds its root and their number (`OfferBatch`).
Every offer travels with that envelope, its body and the path between them (`BatchedOffer`), in the places
where the envelope around a single body does. The two are told apart by their first byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from fastmarket._merkle import count_signatures, split_batched
from fastmarket.errors import PeerFault
from fastmarket.formats.envelope import open_envelope, seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.varint import encode_uvarint
from fastmarket.offers.merkle import HASH_BYTES, merkle_root, merkle_tree
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBatch

BATCH_DOMAIN = "fastmarket-offer-batch"
BATCH_PAYLOAD_TYPE = b"/fastmarket/offer-batch"

MAX_BATCH_OFFERS = 256  # a path of 256 bytes; a signature costs 0.3 us an offer, hashing its path thrice that
MAX_PATH_BYTES = (MAX_BATCH_OFFERS - 1).bit_length() * HASH_BYTES

# Of BatchedOffer, field number << 3 | wire type. An Envelope begins with its field 1 (0x0a).
_BATCH_TAG = b"\x5a"
_INDEX_TAG = b"\x60"
_PATH_TAG = b"\x6a"
_BODY_TAG = b"\x72"
_FIRST = _BATCH_TAG[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """A signed root, verified: `count` bodies of `signer` lie under it."""

    signer: PeerId
    root: bytes
    count: int


@dataclass(frozen=True, slots=True)
class BatchedOffer:
    """An offer of a batch as it travels, nothing of it verified. `batch` is the signed envelope."""

    batch: bytes
    index: int
    path: bytes
    body: bytes

    def encode(self) -> bytes:
        """The only form in which it is accepted: these fields, in this order."""
        return _batch_field(self.batch) + _fields(self.index, self.path, self.body)

    def lies_under(self, batch: Batch) -> bool:
        """Whether the path leads from the body to the root."""
        return merkle_root(self.body, self.index, batch.count, self.path) == batch.root


# Indices and lengths are few.
_uvarint = lru_cache(maxsize=1024)(encode_uvarint)


def _batch_field(batch: bytes) -> bytes:
    return _BATCH_TAG + encode_uvarint(len(batch)) + batch


def _fields(index: int, path: bytes, body: bytes) -> bytes:
    """Those after the batch."""
    length, size = _uvarint(len(path)), _uvarint(len(body))
    return b"%b%b%b%b%b%b%b%b" % (
        _INDEX_TAG,
        _uvarint(index),
        _PATH_TAG,
        length,
        path,
        _BODY_TAG,
        size,
        body,
    )


def is_batched(signed: bytes) -> bool:
    """Whether a signed offer is one of a batch; else it is an envelope around its own body."""
    return len(signed) > 0 and signed[0] == _FIRST


def signatures(signed: Iterable[bytes]) -> int:
    """How many signatures those offers take to verify: one for each batch, one for each other offer."""
    return count_signatures(signed)


def decode_batched(signed: bytes) -> BatchedOffer:
    """Raises `PeerFault` for anything but what `BatchedOffer.encode` makes."""
    try:
        return BatchedOffer(*split_batched(signed))
    except ValueError as error:
        raise PeerFault(str(error)) from None


def sign_batch(identity: Identity, bodies: Sequence[bytes]) -> list[bytes]:
    """The bodies, 2 to MAX_BATCH_OFFERS of them, as signed offers of one batch."""
    root, paths = merkle_tree(bodies)
    payload = OfferBatch(root=root, count=len(bodies)).SerializeToString(deterministic=True)
    envelope = seal(identity, BATCH_DOMAIN, BATCH_PAYLOAD_TYPE, payload)
    first = _batch_field(envelope)
    return [
        first + _fields(index, path, body)
        for index, (path, body) in enumerate(zip(paths, bodies, strict=True))
    ]


def open_batch(raw: bytes) -> Batch:
    """Verifies the envelope of a batch. Raises `PeerFault`."""
    envelope = open_envelope(raw, BATCH_DOMAIN, payload_types=(BATCH_PAYLOAD_TYPE,))
    try:
        payload = OfferBatch.FromString(envelope.payload)
    except DecodeError as error:
        raise PeerFault(f"bad batch of offers: {error}") from None
    if len(payload.root) != HASH_BYTES or not 2 <= payload.count <= MAX_BATCH_OFFERS:
        raise PeerFault("batch of offers with a root or a count out of bounds")
    return Batch(envelope.peer_id, payload.root, payload.count)
