"""A tab: what one buyer owes one seller in one currency; and the offers that its bytes are bought under."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from fastmarket.formats.identity import PeerId
from fastmarket.formats.price import BYTES_PER_MB, cost_of
from fastmarket.formats.varint import frame
from fastmarket.native.sha256 import sha256

TAB_ID_BYTES = 32
SALT_BYTES = 16
MAX_CURRENCY_CHARS = 32
MAX_SUM = (1 << 63) - 1
"""Of the bytes and amounts of a tab, as of the price of an offer: what a signed 64-bit integer holds."""

MAX_CACHED_OFFERS = 1024
"""Whose hash is remembered, as each block of a content needs it; 500 bytes each."""

_TAB_DOMAIN = b"fastmarket-tab"
_PRICE_DOMAIN = b"fastmarket-price"
_PRICE_BYTES = 8


def is_currency(label: str) -> bool:
    """Whether it may be the label of a currency: printable ASCII without spaces."""
    is_printed = label.isascii() and label.isprintable() and " " not in label
    return 0 < len(label) <= MAX_CURRENCY_CHARS and is_printed


@dataclass(frozen=True)
class Tab:
    """The parties of a tab, its currency, and the 16 bytes of `salt` by which two of one pair differ."""

    buyer: PeerId
    seller: PeerId
    currency: str
    salt: bytes

    @cached_property
    def id(self) -> bytes:
        """Its 32 bytes: another buyer, seller, currency or salt makes another tab."""
        fields = (_TAB_DOMAIN, self.buyer.raw, self.seller.raw, self.currency.encode(), self.salt)
        return sha256(b"".join(map(frame, fields)))


@dataclass(frozen=True, slots=True)
class PricedOffer:
    """A content at a price per MB; `hash` names both, the seller and the currency."""

    hash: bytes
    price: int

    @classmethod
    def of(cls, content: bytes, seller: PeerId, currency: str, price: int) -> PricedOffer:
        """`content`: a multihash; 0 <= `price` <= MAX_SUM."""
        return _offer_of(content, seller.raw, currency, price)

    def whole_units(self, file_bytes: int) -> int:
        """The most of so many bytes that costs whole units: what is left costs less than one."""
        return file_bytes * self.price // BYTES_PER_MB * BYTES_PER_MB // self.price if self.price else 0

    def cost(self, file_bytes: int) -> int:
        """What so many bytes of it cost in one receipt."""
        return cost_of(file_bytes, self.price)


@lru_cache(MAX_CACHED_OFFERS)
def _offer_of(content: bytes, seller: bytes, currency: str, price: int) -> PricedOffer:
    price_bytes = price.to_bytes(_PRICE_BYTES, "big")
    fields = (_PRICE_DOMAIN, content, seller, currency.encode(), price_bytes)
    return PricedOffer(sha256(b"".join(map(frame, fields))), price)
