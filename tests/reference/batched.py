"""Offers of a batch as each travels by itself (`BatchedOffer` of offer.proto): put together, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.merkle import split_batched

# Field number << 3 | wire type.
BATCH_TAG = b"\x5a"
INDEX_TAG = b"\x60"
PATH_TAG = b"\x6a"
BODY_TAG = b"\x72"


@dataclass(frozen=True, slots=True)
class BatchedOffer:
    """Nothing of it verified. `batch` is the signed envelope."""

    batch: bytes
    index: int
    path: bytes
    body: bytes

    def encode(self) -> bytes:
        """The only form in which it is accepted: these fields, in this order."""
        return b"".join(
            (
                *(BATCH_TAG, encode_uvarint(len(self.batch)), self.batch),
                *(INDEX_TAG, encode_uvarint(self.index)),
                *(PATH_TAG, encode_uvarint(len(self.path)), self.path),
                *(BODY_TAG, encode_uvarint(len(self.body)), self.body),
            )
        )


def decode_batched(signed: bytes) -> BatchedOffer:
    """ValueError for anything but what `BatchedOffer.encode` makes."""
    return BatchedOffer(*split_batched(signed))
