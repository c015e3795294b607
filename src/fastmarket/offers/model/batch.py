"""One signature over many offers: what is signed, and how an offer of a batch travels by itself.

The leaves of a Merkle tree are the bodies; a signed envelope holds its root and their number (`OfferBatch`).
A whole batch is sent to a storer of all its offers (`SignedBatch`). A single offer is sent with that
envelope, its body and the Merkle path between them (`BatchedOffer`), wherever the envelope of a single body
may stand; the first byte tells the two forms apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.envelope import open_envelope, seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.native.batch import MAX_COUNT, SignedBatch, tree_root
from fastmarket.native.merkle import HASH_BYTES, plain_body
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBatch, OfferBody

BATCH_DOMAIN = "fastmarket-offer-batch"
BATCH_PAYLOAD_TYPE = b"/fastmarket/offer-batch"

MAX_BATCH_OFFERS = (
    MAX_COUNT  # 256: a path of 256 bytes; a signature costs 0.3 us an offer, hashing its path thrice that
)

_BATCHED_FIRST = 0x5A  # a BatchedOffer begins with its field 11; an Envelope with its field 1 (0x0a)


@dataclass(frozen=True, slots=True)
class Batch:
    """A verified, signed root: `signer` signed `count` bodies under it."""

    signer: PeerId
    root: bytes
    count: int


def is_batched(signed: bytes) -> bool:
    """Whether a signed offer belongs to a batch; if not, it is an envelope around its own body."""
    return len(signed) > 0 and signed[0] == _BATCHED_FIRST


def sign_batch(identity: Identity, bodies: list[bytes]) -> SignedBatch:
    """Signs 2 to MAX_BATCH_OFFERS bodies with one signature."""
    payload = OfferBatch(root=tree_root(bodies), count=len(bodies)).SerializeToString(deterministic=True)
    return SignedBatch.join(seal(identity, BATCH_DOMAIN, BATCH_PAYLOAD_TYPE, payload), bodies)


def contents(batch: SignedBatch) -> Iterator[bytes]:
    """The contents of its offers, in order; the bodies have been parsed before."""
    for index in range(batch.count):
        yield key_of(batch.body(index))[0]


def key_of(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Content, provider and user id of an OfferBody; empty if it cannot be parsed. Nothing is verified."""
    plain = plain_body(body)
    if plain is not None:
        return plain[:3]
    try:
        read = OfferBody.FromString(body)
    except DecodeError:
        return b"", b"", b""
    return read.content, read.provider, read.user_id


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
