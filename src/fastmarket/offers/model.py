"""The offer: a signed, expiring promise to serve a content.

An offer travels as a libp2p signed envelope (RFC 0002) around an `OfferBody`. Whoever stores it, relays it or
returns it hands on the very bytes the holder signed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import open_envelope, seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.varint import decode_uvarint
from fastmarket.offers.metadata import FileMetadata, check_text
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody

OFFER_DOMAIN = "fastmarket-offer"
OFFER_PAYLOAD_TYPE = b"/fastmarket/offer"

MAX_CONTENT_BYTES = 80  # the longest key go-libp2p-kad-dht takes for a provider record
MAX_USER_ID_BYTES = 1024  # earlier clients put an RSA-4096 public key in DER here: 550 bytes
MAX_USER_NAME_BYTES = 256
MAX_PRICE_PER_MB = 2**63 - 1  # market.User carries the price as int64
MAX_ENVELOPE_BYTES = 4096  # every field at its longest, an RSA-4096 key and its signature: below 3.4 KiB
MAX_LIFETIME_S = 48 * 3600  # how long a holder that vanished can be offered; go-libp2p's provider validity
MAX_CLOCK_SKEW_S = 600  # how far a holder's clock may run ahead of ours

OfferKey: TypeAlias = tuple[bytes, bytes, bytes]
"""What makes two offers versions of one: content, provider (raw peer id), user id."""


class OfferExpired(PeerFault):
    """Rightly signed, but its time is over."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`provider` serves `content` (a multihash) to whoever pays, as `user_name` with the opaque `user_id`.

    Of two offers with the same key the one with the higher `seq` counts. `issued_at` and `not_after` are unix
    seconds. A `withdrawn` one is a tombstone. `envelope` is what was signed.
    """

    content: bytes
    provider: PeerId
    user_id: bytes
    user_name: str
    metadata: FileMetadata
    seq: int
    issued_at: int
    not_after: int
    withdrawn: bool
    envelope: bytes

    @property
    def key(self) -> OfferKey:
        """The offer's identity."""
        return (self.content, self.provider.raw, self.user_id)

    @property
    def ip(self) -> str:
        """Address or host name to fetch from."""
        return self.metadata.ip

    @property
    def port(self) -> int:
        """Port to fetch from."""
        return self.metadata.port

    @property
    def price_per_mb(self) -> int:
        """Price per MB."""
        return self.metadata.price_per_mb

    def replaces(self, other: Offer) -> bool:
        """Whether this is the version that counts, of two with the same key.

        A holder that signs two with one seq gets the greater envelope, whichever came first: on every node.
        """
        return (self.seq, self.envelope) > (other.seq, other.envelope)

    def live(self, now: float) -> bool:
        """Whether a buyer may be shown it."""
        return not self.withdrawn and now < self.not_after


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """What a holder decides about an offer. Raises `CallerFault` naming the field."""

    content: bytes
    user_id: bytes
    user_name: str
    metadata: FileMetadata

    def __post_init__(self) -> None:
        check_content(self.content)
        if len(self.user_id) > MAX_USER_ID_BYTES:
            raise CallerFault("user_id", f"more than {MAX_USER_ID_BYTES} bytes")
        check_text("user_name", self.user_name, MAX_USER_NAME_BYTES)
        if self.metadata.price_per_mb > MAX_PRICE_PER_MB:
            raise CallerFault("price_per_mb", f"more than {MAX_PRICE_PER_MB}")


def check_content(content: bytes) -> None:
    """Raises `CallerFault` unless `content` has the form of a multihash of bounded length."""
    if len(content) > MAX_CONTENT_BYTES:
        raise CallerFault("content", f"a multihash of more than {MAX_CONTENT_BYTES} bytes")
    try:
        _, size_at = decode_uvarint(content)
        size, digest_at = decode_uvarint(content, size_at)
    except PeerFault:
        raise CallerFault("content", "not a multihash") from None
    if size == 0 or digest_at + size != len(content):
        raise CallerFault("content", "not a multihash")


def sign_offer(
    identity: Identity,
    terms: OfferTerms,
    now: float,
    *,
    previous: Offer | None = None,
    lifetime_s: float = MAX_LIFETIME_S,
    withdrawn: bool = False,
) -> Offer:
    """Signs an offer that takes the place of `previous`.

    The seq is the time in microseconds, yet always above the previous one, so that a clock set back does not
    silence the holder. A tombstone lives as long as what it takes back.
    """
    if not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise CallerFault("lifetime_s", f"{lifetime_s} is not between 1 and {MAX_LIFETIME_S}")
    issued_at = int(now)
    seq = int(now * 1_000_000)
    not_after = issued_at + int(lifetime_s)
    if previous is not None:
        seq = max(seq, previous.seq + 1)
        if withdrawn:
            not_after = max(issued_at + 1, min(previous.not_after, issued_at + MAX_LIFETIME_S))
    body = OfferBody(provider=identity.peer_id.raw, seq=seq, issued_at=issued_at, not_after=not_after)
    body.withdrawn = withdrawn
    _write_terms(terms, body)
    payload = body.SerializeToString(deterministic=True)
    return _offer(terms, body, identity.peer_id, seal(identity, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, payload))


def _write_terms(terms: OfferTerms, body: OfferBody) -> None:
    body.content = terms.content
    body.user_id = terms.user_id
    body.user_name = terms.user_name
    terms.metadata.write_to(body)


def _offer(terms: OfferTerms, body: OfferBody, provider: PeerId, envelope: bytes) -> Offer:
    return Offer(
        terms.content,
        provider,
        terms.user_id,
        terms.user_name,
        terms.metadata,
        body.seq,
        body.issued_at,
        body.not_after,
        body.withdrawn,
        envelope,
    )


def open_offer(envelope: bytes, now: float) -> Offer:
    """Verifies an offer from a stranger. Raises `OfferExpired` or another `PeerFault`."""
    offer = _read_offer(envelope)
    check_times(offer, now)
    return offer


def check_times(offer: Offer, now: float) -> None:
    """The part of the verification that depends on the clock. Raises `OfferExpired` or `PeerFault`."""
    if offer.not_after <= now:
        raise OfferExpired(f"offer expired {now - offer.not_after:.0f} s ago")
    if offer.issued_at > now + MAX_CLOCK_SKEW_S:
        raise PeerFault(f"offer issued {offer.issued_at - now:.0f} s in the future")


def _read_offer(raw: bytes) -> Offer:
    """All of the verification that holds for ever: signature, form, bounds, lifetime."""
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise PeerFault(f"offer of more than {MAX_ENVELOPE_BYTES} bytes")
    envelope = open_envelope(raw, OFFER_DOMAIN, payload_types=(OFFER_PAYLOAD_TYPE,))
    try:
        body = OfferBody.FromString(envelope.payload)
        terms = OfferTerms(body.content, body.user_id, body.user_name, FileMetadata.read_from(body))
    except (DecodeError, CallerFault) as error:
        raise PeerFault(f"bad offer: {error}") from None
    if body.provider != envelope.peer_id.raw:
        raise PeerFault("offer signed by another peer than its provider")
    if not 0 < body.not_after - body.issued_at <= MAX_LIFETIME_S:
        raise PeerFault("offer with a lifetime out of bounds")
    return _offer(terms, body, envelope.peer_id, raw)


class OfferVerifier:
    """`open_offer` that verifies the same bytes once.

    One lookup brings the same offer from up to k peers, and a signature costs a hundred times what reading
    the cache does. Keyed by the envelope itself, which the offer holds anyway: no digest to compute or to
    collide. Only valid offers are kept; the least recently used leaves.
    """

    __slots__ = ("_capacity", "_known", "verified")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, Offer] = OrderedDict()
        self.verified = 0
        """Signatures verified so far."""

    def open(self, envelope: bytes, now: float) -> Offer:
        """As `open_offer`."""
        offer = self._known.get(envelope)
        if offer is None:
            offer = _read_offer(envelope)
            self.verified += 1
            self._known[envelope] = offer
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(envelope)
        check_times(offer, now)
        return offer

    def __len__(self) -> int:
        return len(self._known)
