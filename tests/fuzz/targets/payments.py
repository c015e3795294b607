"""Receipts, openings and headers of buyers and sellers that are strangers to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import Any

from fastmarket.config import PaymentConfig
from fastmarket.content.place import FileBlock
from fastmarket.content.port.messages import GatewayRequest, RequestRefused
from fastmarket.content.port.speaker import not_held
from fastmarket.errors import PeerFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.formats.cid import sha256_multihash
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.payer import Payer
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.payments.backing import open_terms, sign_terms
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.frames import payment_frame, price_frame, read_asked, read_told, told_frame
from fastmarket.payments.peer_sales import PeerSales
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, ReceiptFault, open_receipt
from fastmarket.payments.rows import BuyerRow
from fastmarket.payments.session import TabOpening, Ticket, open_opening
from fastmarket.payments.tab import Tab
from fastmarket.payments.x402 import (
    REQUIRED_HEADER,
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
from fastmarket.settlement.x402.channels import EscrowChannel, EscrowVoucher
from tests.content.port.paying import SmallTill
from tests.fuzz.target import Shape, Target
from tests.fuzz.values import ED25519
from tests.virtual.payments import BLOCK_BYTES, CONTENT, START, BuyerDisk, VirtualBuyer, VirtualSeller

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


def settlement_terms(data: bytes) -> object:
    """Whatever the seller signed is what a plug-in reads."""
    found = open_terms(data, SELLER.peer_id)
    assert open_terms(sign_terms(SELLER, found), SELLER.peer_id) == found
    return len(found)


def _voucher() -> bytes:
    channel = EscrowChannel(*(bytes((number,)) * 20 for number in range(1, 6)), 86_400, TAB.id)
    return EscrowVoucher(bytes(range(32)), channel, 7, bytes(65)).encode()


def voucher(data: bytes) -> object:
    """What is read is what was sent."""
    found = EscrowVoucher.decode(data, TAB.id)
    assert found.encode() == data
    return found.amount


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


def frames(data: bytes) -> object:
    """Of either side: each that is taken reads back as it is."""
    taken = 0
    for read, write in _FRAMES:
        try:
            value = read(data)
        except PeerFault:
            continue
        assert read(write(value)) == value
        taken += 1
    if not taken:
        raise PeerFault("of neither side")
    return taken


def _asked_frame(asked: bytes | Payment) -> bytes:
    return payment_frame(asked) if isinstance(asked, Payment) else price_frame(asked)


_FRAMES: tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...] = (
    (read_asked, _asked_frame),
    (read_told, lambda told: told_frame(told, BUYER.peer_id)),
)


def _frame_seeds() -> list[bytes]:
    payments = [payment_frame(decode_payment(text.decode())) for text in _headers()[:2]]
    state, terms = decode_state(_headers()[2].decode()), decode_terms(_headers()[3].decode())
    told = [told_frame(one, BUYER.peer_id) for one in (state, terms)]
    return [price_frame(BLOCK), price_frame(b""), *payments, *told]


@cache
def _sales() -> PeerSales:
    seller, _ = _pair()
    return PeerSales(seller.till, _Prices(), lambda block: BLOCK_BYTES)


class _Prices:
    def find(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        return content or CONTENT, 3


def tab_stream(data: bytes) -> object:
    """Whatever a stranger sends on a stream of its own, no block is sold to it without an agreement."""
    sales, asked = _sales(), read_asked(data)
    if isinstance(asked, Payment):
        found = sales.take(asked, "192.0.2.9", START)
        told = sales.refusal(BUYER.peer_id, asked, found) if isinstance(found, Reason) else None
        told = told or sales.agree(BUYER.peer_id, asked, START)
    else:
        told = sales.quote(BUYER.peer_id, asked)
    assert isinstance(told, PaymentTerms)
    assert read_told(told_frame(told, BUYER.peer_id)) == told
    assert not sales.may_have(BUYER.peer_id, BLOCK, START)
    assert not sales.charge(BUYER.peer_id, BLOCK, START)
    return told.reason


def cashier(data: bytes) -> object:
    """Whatever stands in PAYMENT-SIGNATURE, a priced block is not given for it, and the terms can be read."""
    till, place = _till()
    request = GatewayRequest("GET", "/ipfs/x", {"payment-signature": data.decode("latin-1")}, "192.0.2.9")
    assert not till.cashier.holds(request, not_held)
    found: RequestRefused | None = None
    try:
        till.cashier.check(request, BLOCK, place)
    except RequestRefused as refused:
        found = refused
    assert found is not None, "it was sold"
    assert found.status == HTTPStatus.PAYMENT_REQUIRED
    ((name, told),) = found.headers
    assert name == REQUIRED_HEADER
    return decode_terms(told).reason


@cache
def _till() -> tuple[SmallTill, FileBlock]:
    till = SmallTill()
    till.priced.add(BLOCK)
    return till, FileBlock(_NoFile(), 0, BLOCK_BYTES, b"", b"")


class _NoFile:
    path = "/nowhere"
    size = BLOCK_BYTES

    def opened(self) -> Any:
        raise AssertionError("nothing is read to sell it")

    def is_unmoved(self, descriptor: int) -> bool:
        return True


class _Forgets:
    """A disk of a buyer that has nothing to write in this target."""

    def put(self, rows: Sequence[BuyerRow]) -> Any:
        raise AssertionError("a receipt was signed for what never came")


@cache
def _wallet() -> Wallet:
    return Wallet(BuyerTabs(BUYER, PaymentConfig(), BuyerDisk()), _Forgets(), Clock())


def wallet(data: bytes) -> object:
    """Whatever a seller says, nothing is paid that was not asked for and did not come."""
    text, payer = data.decode("latin-1"), Payer.of(_wallet(), SELLER.peer_id, CONTENT, 3)
    purse = _wallet().tabs.purse(SELLER.peer_id, bytes(16))
    ask = Ask(1, 0, b"\x01\x55" + BLOCK, START, BLOCK_BYTES, BLOCK_BYTES)
    for is_refused in (False, True):
        payer.header(ask)
        if is_refused:
            payer.on_refused(ask, text, not_held)
        else:
            payer.on_block(ask, 0, text, not_held)
        with suppress(PeerFault):
            payer.take(decode_terms(text) if is_refused else decode_state(text))
    assert (purse.seq, purse.paid_amount, purse.unverified) == (0, 0, 0)
    assert purse.credit <= PaymentConfig().credit.max_bytes
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


def _shell_target(name: str, entry: str, check: Callable[[bytes], object]) -> Target:
    """Of headers, where they are taken."""
    return Target(name, f"fastmarket.{entry}", _headers, check, (PeerFault,), Shape.BYTES)


TARGETS: tuple[Target, ...] = (
    _target("receipt", "receipt.open_receipt", _receipts, receipt, Shape.PROTOBUF),
    _target(
        "tab-opening",
        "session.open_opening",
        lambda: [TabOpening(TAB, bytes(range(32)), bytes(range(1, 33)), 5).sign(BUYER)],
        opening,
        Shape.PROTOBUF,
    ),
    _target(
        "settlement-terms",
        "backing.open_terms",
        lambda: [sign_terms(SELLER, terms) for terms in (b"t", bytes(range(200)))],
        settlement_terms,
        Shape.PROTOBUF,
    ),
    Target(
        "voucher",
        "fastmarket.settlement.x402.channels.EscrowVoucher.decode",
        lambda: [_voucher()],
        voucher,
        (PeerFault,),
        Shape.BYTES,
    ),
    _target("payment-header", "x402.decode_payment", _headers, header, Shape.BYTES),
    _target("tab-frames", "frames.read_asked", _frame_seeds, frames, Shape.BYTES),
    _target(
        "tab-stream",
        "peer_sales.PeerSales.agree",
        lambda: _frame_seeds()[:4],
        tab_stream,
        Shape.BYTES,
        _still_sells,
    ),
    _shell_target("cashier", "content.port.cashier.Cashier.check", cashier),
    _shell_target("wallet", "net.fetching.payer.Payer.on_refused", wallet),
    _target("till", "till.Till.take", lambda: _headers()[:2], till, Shape.BYTES, _still_sells),
)
