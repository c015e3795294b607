"""Receipts: what a buyer signs, and what a seller reads. The sums are checked against a tab by `seller`."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import BadSignature, open_envelope, seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.native.sha256 import DIGEST_SIZE
from fastmarket.payments.tab import MAX_SUM, SALT_BYTES, TAB_ID_BYTES, Tab, is_currency
from fastmarket.pb.fastmarket.v1 import receipt_pb2

RECEIPT_DOMAIN = "fastmarket-receipt"
RECEIPT_PAYLOAD_TYPE = b"/fastmarket/receipt"
MAX_RECEIPT_BYTES = 4096
"""Of an envelope: with an Ed25519 key some 330, with the largest RSA key 2.4 KiB; and a voucher."""

MAX_VOUCHER_BYTES = 512
"""What makes a receipt worth something to a settlement (`payments.backing`): `x402` takes 219."""


class ReceiptFault(PeerFault):
    """A receipt, or the opening of a session, is wrong in `field`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", protocol="receipt")
        self.field = field


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that was bought on a tab so far; fields as in proto/fastmarket/v1/receipt.proto.

    Raises CallerFault naming the field that is out of range."""

    tab: Tab
    seq: int
    cumulative_bytes: int
    cumulative_amount: int
    offer_hash: bytes
    valid_until: int
    voucher: bytes = b""

    def __post_init__(self) -> None:
        for name in ("seq", "cumulative_bytes", "cumulative_amount", "valid_until"):
            if not 0 <= getattr(self, name) <= MAX_SUM:
                raise CallerFault(name, "is outside 0..2**63-1")
        if len(self.voucher) > MAX_VOUCHER_BYTES:
            raise CallerFault("voucher", f"has {len(self.voucher)} bytes, of at most {MAX_VOUCHER_BYTES}")

    @property
    def sums(self) -> tuple[int, int]:
        """Bytes and amount."""
        return self.cumulative_bytes, self.cumulative_amount

    def sign(self, identity: Identity) -> bytes:
        """The envelope, signed by the tab's buyer."""
        if identity.peer_id != self.tab.buyer:
            raise CallerFault("tab", "is another buyer's")
        message = receipt_pb2.Receipt(
            tab=self.tab.id,
            seller=self.tab.seller.raw,
            currency=self.tab.currency,
            salt=self.tab.salt,
            seq=self.seq,
            cumulative_bytes=self.cumulative_bytes,
            cumulative_amount=self.cumulative_amount,
            offer_hash=self.offer_hash,
            valid_until=self.valid_until,
            voucher=self.voucher,
        )
        return seal(identity, RECEIPT_DOMAIN, RECEIPT_PAYLOAD_TYPE, message.SerializeToString())


def open_receipt(raw: bytes) -> Receipt:
    """The receipt in an envelope, signed by the buyer that it names. Raises ReceiptFault."""
    signer, payload = open_signed("receipt", raw, RECEIPT_DOMAIN, RECEIPT_PAYLOAD_TYPE)
    try:
        message = receipt_pb2.Receipt.FromString(payload)
    except DecodeError:
        raise ReceiptFault("receipt", "is not a Receipt message") from None
    tab = checked_tab(signer, message.tab, message.seller, message.currency, message.salt)
    if len(message.offer_hash) != DIGEST_SIZE:
        raise ReceiptFault("offer_hash", f"has {len(message.offer_hash)} bytes, not {DIGEST_SIZE}")
    sums = message.seq, message.cumulative_bytes, message.cumulative_amount
    try:
        return Receipt(tab, *sums, message.offer_hash, message.valid_until, message.voucher)
    except CallerFault as fault:
        raise ReceiptFault(fault.field, fault.reason) from None


def open_signed(name: str, raw: bytes, domain: str, payload_type: bytes) -> tuple[PeerId, bytes]:
    """The signer and the payload of an envelope, of which faults speak by that name. Raises ReceiptFault."""
    if len(raw) > MAX_RECEIPT_BYTES:
        raise ReceiptFault(name, f"has {len(raw)} bytes, of at most {MAX_RECEIPT_BYTES}")
    try:
        envelope = open_envelope(raw, domain, payload_types=(payload_type,))
    except BadSignature as fault:
        raise ReceiptFault("signature", fault.reason) from None
    except PeerFault as fault:
        raise ReceiptFault(name, fault.reason) from None
    return envelope.peer_id, envelope.payload


def checked_tab(signer: PeerId, tab_id: bytes, seller: bytes, currency: str, salt: bytes) -> Tab:
    """The tab that these fields name. Raises ReceiptFault."""
    if len(tab_id) != TAB_ID_BYTES:
        raise ReceiptFault("tab", f"has {len(tab_id)} bytes, not {TAB_ID_BYTES}")
    if len(salt) != SALT_BYTES:
        raise ReceiptFault("salt", f"has {len(salt)} bytes, not {SALT_BYTES}")
    if not is_currency(currency):
        raise ReceiptFault("currency", "is not the label of a currency")
    try:
        tab = Tab(signer, PeerId.from_bytes(seller), currency, salt)
    except PeerFault as fault:
        raise ReceiptFault("seller", fault.reason) from None
    if tab.id != tab_id:
        raise ReceiptFault("tab", "is not that of its signer, seller, currency and salt")
    return tab
