"""Receipts, openings and headers of buyers and sellers that are strangers to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from fastmarket.errors import PeerFault
from fastmarket.formats.cid import sha256_multihash
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, ReceiptFault, open_receipt
from fastmarket.payments.session import TabOpening, Ticket, open_opening
from fastmarket.payments.tab import Tab
from fastmarket.payments.x402 import (
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
from tests.fuzz.target import Shape, Target
from tests.fuzz.values import ED25519
from tests.virtual.payments import BLOCK_BYTES, START, VirtualBuyer, VirtualSeller

BUYER, SELLER = ED25519[0], ED25519[1]
TAB = Tab(BUYER.peer_id, SELLER.peer_id, "unit", bytes(16))
BLOCK = sha256_multihash(b"block")


def _receipts() -> list[bytes]:
    return [Receipt(TAB, seq, seq << 30, seq, bytes(32), 1 << 40).sign(BUYER) for seq in (0, 1, 77, 1 << 32)]


def receipt(data: bytes) -> object:
    """What is signed reads back; every fault names a field that a seller counts."""
    try:
        found = open_receipt(data)
    except ReceiptFault as fault:
        Reason(fault.field)
        raise
    assert found.tab.id == Tab(found.tab.buyer, found.tab.seller, found.tab.currency, found.tab.salt).id
    if found.tab.buyer == BUYER.peer_id:
        assert open_receipt(found.sign(BUYER)) == found
    return found.seq


def opening(data: bytes) -> object:
    """Likewise."""
    try:
        found = open_opening(data)
    except ReceiptFault as fault:
        Reason(fault.field)
        raise
    return found.number


def _headers() -> list[bytes]:
    ticket = Ticket.made(bytes(32), TAB.id, 1, 3, BLOCK, BLOCK).encode()
    signed = TabOpening(TAB, bytes(range(32)), bytes(range(1, 33)), 5).sign(BUYER)
    state = TabState(1, 2, 3, 4, 5)
    terms = PaymentTerms(Reason.CREDIT, SELLER.peer_id, "unit", 3, bytes(range(32)), state)
    texts = [
        encode_payment(Payment(ticket)),
        encode_payment(Payment(ticket, _receipts()[1], signed)),
        encode_state(state, BUYER.peer_id),
        encode_terms(terms, "/ipfs/x", 7),
    ]
    return [text.encode() for text in texts]


def header(data: bytes) -> object:
    """The three headers of x402: each that is taken reads back as it is."""
    text = data.decode("latin-1")
    taken = 0
    for decode, encode in _CODECS:
        try:
            value = decode(text)
        except PeerFault:
            continue
        assert decode(encode(value)) == value
        taken += 1
    if not taken:
        raise PeerFault("none of the three")
    return taken


_CODECS: tuple[tuple[Callable[[str], object], Callable[..., str]], ...] = (
    (decode_payment, encode_payment),
    (decode_state, lambda state: encode_state(state, BUYER.peer_id)),
    (decode_terms, lambda terms: encode_terms(terms, "", 0)),
)


@cache
def _pair() -> tuple[VirtualSeller, VirtualBuyer]:
    return VirtualSeller(), VirtualBuyer()


def till(data: bytes) -> object:
    """Whatever a stranger sends with a request, nothing is served without a ticket."""
    seller, _ = _pair()
    before = seller.served_bytes
    told, _ = seller.request(data.decode("latin-1"), BLOCK, BLOCK_BYTES, START)
    assert not told
    assert seller.served_bytes == before
    return None


def _still_sells(data: bytes) -> None:
    seller, buyer = _pair()
    done = buyer.fetch(seller, 1, START)
    assert done.why == "", f"an honest buyer is not served any more: {done}"


def _target(
    name: str,
    entry: str,
    seeds: Callable[[], Sequence[bytes]],
    check: Callable[[bytes], object],
    shape: Shape,
    after: Callable[[bytes], None] | None = None,
) -> Target:
    return Target(name, f"fastmarket.payments.{entry}", seeds, check, (PeerFault,), shape, after=after)


TARGETS: tuple[Target, ...] = (
    _target("receipt", "receipt.open_receipt", _receipts, receipt, Shape.PROTOBUF),
    _target(
        "tab-opening",
        "session.open_opening",
        lambda: [TabOpening(TAB, bytes(range(32)), bytes(range(1, 33)), 5).sign(BUYER)],
        opening,
        Shape.PROTOBUF,
    ),
    _target("payment-header", "x402.decode_payment", _headers, header, Shape.BYTES),
    _target("till", "till.Till.take", lambda: _headers()[:2], till, Shape.BYTES, _still_sells),
)
