"""Payments on a stream of libp2p: what HTTP carries in headers, each value in a frame of its own.

A frame is its length as a varint, a byte that says what it is, and the value (`x402`). The buyer begins:

    price     the multihash of a content, or nothing  ->  required: what it costs, the key of this run
    payment   ticket, receipt and opening             ->  accepted: how the tab stands, or required: why not

A ticket is for the content: from then on its blocks are sold to the peer at that price, over Bitswap on the
same connection, until the stream ends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.session import MAX_CONTENT_BYTES
from fastmarket.payments.x402 import (
    MAX_HEADER_CHARS,
    Payment,
    PaymentTerms,
    TabState,
    decode_payment,
    decode_state,
    decode_terms,
    encode_payment,
    encode_state,
    encode_terms,
)

TAB_PROTOCOL = "/fastmarket/tab/1.0.0"
MAX_FRAME_BYTES = 1 + MAX_HEADER_CHARS


class FrameKind(IntEnum):
    """The first byte of a frame."""

    PRICE = 0
    PAYMENT = 1
    REQUIRED = 2
    ACCEPTED = 3


Asked: TypeAlias = bytes | Payment
"""What a buyer sends: a content (multihash; b"" for none) whose price it asks, or a payment."""

Told: TypeAlias = PaymentTerms | TabState
"""What a seller answers."""


def price_frame(content: bytes) -> bytes:
    """Without its length, as all of these."""
    return bytes((FrameKind.PRICE,)) + content


def payment_frame(payment: Payment) -> bytes:
    """Likewise."""
    return bytes((FrameKind.PAYMENT,)) + encode_payment(payment).encode("ascii")


def told_frame(told: Told, payer: PeerId) -> bytes:
    """Likewise."""
    if isinstance(told, PaymentTerms):
        return bytes((FrameKind.REQUIRED,)) + encode_terms(told, "", 0).encode("ascii")
    return bytes((FrameKind.ACCEPTED,)) + encode_state(told, payer).encode("ascii")


def read_asked(body: bytes) -> Asked:
    """Raises PeerFault."""
    kind, value = body[:1], body[1:]
    if kind == bytes((FrameKind.PRICE,)):
        if len(value) > MAX_CONTENT_BYTES:
            raise PeerFault(f"a content of {len(value)} bytes", protocol="payment")
        return value
    if kind == bytes((FrameKind.PAYMENT,)):
        return decode_payment(value.decode("latin-1"))
    raise PeerFault("not a frame of a buyer", protocol="payment")


def read_told(body: bytes) -> Told:
    """Raises PeerFault."""
    kind, value = body[:1], body[1:].decode("latin-1")
    if kind == bytes((FrameKind.REQUIRED,)):
        return decode_terms(value)
    if kind == bytes((FrameKind.ACCEPTED,)):
        return decode_state(value)
    raise PeerFault("not a frame of a seller", protocol="payment")
