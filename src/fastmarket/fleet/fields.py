"""What stands in the shared store: fields of a content's hash, and letters from server to server.

A field is an offer as it was signed, or a mark that offers of a user up to a seq count no more: another
server was asked to take them back, which cannot sign for their provider.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.errors import PeerFault
from fastmarket.formats.varint import decode_uvarint, encode_uvarint
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.offer import MAX_CLOCK_SKEW_S, MAX_CONTENT_BYTES, MAX_USER_ID_BYTES, Offer
from fastmarket.storage.shared import FIELD_BYTES, SharedRow

OFFER, MARK = b"o", b"m"
HASH_BYTES = FIELD_BYTES - 1  # some thousands stand side by side
SEQ_BYTES = 8


@dataclass(frozen=True, slots=True)
class Letter:
    """To the server that announces it: your offer of this user is over, unless it is newer than `seq`."""

    content: bytes
    user_id: bytes
    seq: int

    def encode(self) -> bytes:
        """As it is left in the store."""
        return self.seq.to_bytes(SEQ_BYTES, "big") + _framed(self.content) + _framed(self.user_id)

    @classmethod
    def decode(cls, raw: bytes) -> Letter:
        """Raises PeerFault."""
        content, at = _unframed(raw, SEQ_BYTES, MAX_CONTENT_BYTES)
        user_id, _ = _unframed(raw, at, MAX_USER_ID_BYTES)
        return cls(content, user_id, int.from_bytes(raw[:SEQ_BYTES], "big"))


def offer_row(offer: Offer, now: float) -> SharedRow:
    """The field of an offer, a tombstone too."""
    return SharedRow(offer.content, offer_field(offer), offer.envelope, _lives_s(offer.not_after, now))


def offer_field(offer: Offer) -> bytes:
    """Where it stands: every version of it in the place of the one before."""
    return OFFER + sha256(offer.provider.raw + offer.user_id)[:HASH_BYTES]


def mark_field(user_id: bytes) -> bytes:
    """Where a user's mark stands."""
    return MARK + sha256(user_id)[:HASH_BYTES]


def mark_row(content: bytes, user_id: bytes, seq: int, not_after: int, now: float) -> SharedRow:
    """The mark of a user; it stands until the last offer it is about is over."""
    value = seq.to_bytes(SEQ_BYTES, "big") + not_after.to_bytes(SEQ_BYTES, "big") + user_id
    return SharedRow(content, mark_field(user_id), value, _lives_s(not_after, now))


def read_mark(value: bytes) -> tuple[bytes, int, int]:
    """User id, seq, not_after. Raises PeerFault."""
    if not 2 * SEQ_BYTES <= len(value) <= 2 * SEQ_BYTES + MAX_USER_ID_BYTES:
        raise PeerFault("a mark of wrong size")
    seq, not_after = (int.from_bytes(value[at : at + SEQ_BYTES], "big") for at in (0, SEQ_BYTES))
    return value[2 * SEQ_BYTES :], seq, not_after


def _lives_s(not_after: int, now: float) -> int:
    """Clocks of servers differ; the engine's own is not asked."""
    return max(1, int(not_after - now) + MAX_CLOCK_SKEW_S)


def _framed(data: bytes) -> bytes:
    return encode_uvarint(len(data)) + data


def _unframed(raw: bytes, at: int, most: int) -> tuple[bytes, int]:
    size, begin = decode_uvarint(raw, at)
    if size > most or begin + size > len(raw):
        raise PeerFault("a letter of wrong size")
    return raw[begin : begin + size], begin + size
