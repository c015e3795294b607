"""Who asks: a session ties requests to a tab, so that nobody buys on the tab of another.

A receipt proves that its buyer owes; it does not prove who sends it. So a buyer opens a session: it signs a
`TabOpening` that names its tab, the X25519 key of this run of the seller, and an X25519 key of its own. Both
sides derive one secret from the two keys, and each request carries a `Ticket`: its number, what it agrees to
pay, and a MAC over these and the block. Who overhears requests, or passes them on as a proxy does, can
neither make one nor send one twice; nothing is tied to a connection, which a proxy may share between buyers.
An opening that is sent again opens nothing: its number is not higher, and the next run of the seller has
another key.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import seal
from fastmarket.formats.identity import Identity
from fastmarket.formats.varint import frame
from fastmarket.native.sha256 import sha256
from fastmarket.native.sodium import x25519, x25519_public
from fastmarket.payments.receipt import ReceiptFault, checked_tab, open_signed
from fastmarket.payments.tab import MAX_SUM, TAB_ID_BYTES, Tab
from fastmarket.pb.fastmarket.v1 import receipt_pb2

OPENING_DOMAIN = "fastmarket-tab"
OPENING_PAYLOAD_TYPE = b"/fastmarket/tab"
KEY_BYTES = 32
MAC_BYTES = 16
MAX_CONTENT_BYTES = 80
"""Of the multihash of a content, as in offers."""

RECENT_TICKETS = 1024
"""Numbers behind the highest one that may still come: requests overtake each other on several connections."""

_SECRET_DOMAIN = b"fastmarket-session"
_VERSION = 1
_HEAD = struct.Struct(f">B{TAB_ID_BYTES}sQQ")


@dataclass(frozen=True, slots=True)
class TabOpening:
    """The opening of a session; fields as in proto/fastmarket/v1/receipt.proto."""

    tab: Tab
    seller_key: bytes
    buyer_key: bytes
    number: int

    def sign(self, identity: Identity) -> bytes:
        """The envelope, signed by the tab's buyer."""
        if identity.peer_id != self.tab.buyer:
            raise CallerFault("tab", "is another buyer's")
        message = receipt_pb2.TabOpening(
            tab=self.tab.id,
            seller=self.tab.seller.raw,
            currency=self.tab.currency,
            salt=self.tab.salt,
            seller_key=self.seller_key,
            buyer_key=self.buyer_key,
            number=self.number,
        )
        return seal(identity, OPENING_DOMAIN, OPENING_PAYLOAD_TYPE, message.SerializeToString())


def open_opening(raw: bytes) -> TabOpening:
    """The opening in an envelope, signed by the buyer that it names. Raises ReceiptFault."""
    signer, payload = open_signed("opening", raw, OPENING_DOMAIN, OPENING_PAYLOAD_TYPE)
    try:
        message = receipt_pb2.TabOpening.FromString(payload)
    except DecodeError:
        raise ReceiptFault("opening", "is not a TabOpening message") from None
    tab = checked_tab(signer, message.tab, message.seller, message.currency, message.salt)
    for name in ("seller_key", "buyer_key"):
        if len(getattr(message, name)) != KEY_BYTES:
            raise ReceiptFault(name, f"has {len(getattr(message, name))} bytes, not {KEY_BYTES}")
    if not 0 < message.number <= MAX_SUM:
        raise ReceiptFault("number", "is outside 1..2**63-1")
    return TabOpening(tab, message.seller_key, message.buyer_key, message.number)


def shared_secret(private: bytes, public: bytes, tab_id: bytes) -> bytes | None:
    """What both sides of a session know, given one's own private key and the other's public one; None: the
    public key is no key."""
    shared = x25519(private, public)
    if shared is None:
        return None
    # The same on both sides, whoever's key comes first.
    keys = sorted((x25519_public(private), public))
    return sha256(b"".join(map(frame, (_SECRET_DOMAIN, shared, tab_id, *keys))))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Of one request: the tab it is bought on, its number in the session, and what the buyer agrees to: the
    price per MB of a content (multihash). `mac` is over all this and the block's multihash."""

    tab_id: bytes
    number: int
    price: int
    content: bytes
    mac: bytes

    @classmethod
    def made(
        cls, secret: bytes, tab_id: bytes, number: int, price: int, content: bytes, block: bytes
    ) -> Ticket:
        """With its MAC."""
        return cls(tab_id, number, price, content, _mac(secret, tab_id, number, price, content, block))

    @classmethod
    def decode(cls, raw: bytes) -> Ticket:
        """Raises PeerFault."""
        end = len(raw) - MAC_BYTES
        if not _HEAD.size < end <= _HEAD.size + MAX_CONTENT_BYTES:
            raise PeerFault(f"a ticket of {len(raw)} bytes", protocol="payment")
        version, tab_id, number, price = _HEAD.unpack_from(raw)
        if version != _VERSION:
            raise PeerFault(f"a ticket of version {version}", protocol="payment")
        if number > MAX_SUM or price > MAX_SUM:
            raise PeerFault("a number of a ticket is outside 0..2**63-1", protocol="payment")
        return cls(tab_id, number, price, raw[_HEAD.size : end], raw[end:])

    def encode(self) -> bytes:
        """For the wire."""
        return _HEAD.pack(_VERSION, self.tab_id, self.number, self.price) + self.content + self.mac

    def is_of(self, secret: bytes, block: bytes) -> bool:
        """Whether who made it knows the secret, and meant this block."""
        mac = _mac(secret, self.tab_id, self.number, self.price, self.content, block)
        return hmac.compare_digest(mac, self.mac)


def _mac(secret: bytes, tab_id: bytes, number: int, price: int, content: bytes, block: bytes) -> bytes:
    told = _HEAD.pack(_VERSION, tab_id, number, price) + frame(content) + frame(block)
    return _hmac(secret, told)[:MAC_BYTES]


def _hmac(secret: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) with a key of 32 bytes: `hmac.digest` takes three times as long, and each block
    of a purchase needs it on either side."""
    inner = sha256(secret.translate(_INNER) + _INNER_REST + message)
    return sha256(secret.translate(_OUTER) + _OUTER_REST + inner)


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_INNER_REST, _OUTER_REST = (bytes((pad,)) * KEY_BYTES for pad in (0x36, 0x5C))  # to a block of SHA-256, 64


class TicketWindow:
    """Which numbers of a session have come: each is taken once (as RFC 4303, section 3.4.3)."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0  # a bit for each number below the highest, the highest itself first

    def take(self, number: int) -> bool:
        """Whether it is new, and not too old; it is not new again."""
        ahead = number - self._highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _ALL if ahead < RECENT_TICKETS else 1
            self._highest = number
            return True
        bit = 1 << -ahead
        if number < 1 or -ahead >= RECENT_TICKETS or self._seen & bit:
            return False
        self._seen |= bit
        return True


_ALL = (1 << RECENT_TICKETS) - 1
