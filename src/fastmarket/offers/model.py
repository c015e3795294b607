"""The offer: a signed, expiring promise to serve a content.

An offer travels as a signed offer: a libp2p signed envelope (RFC 0002) around an `OfferBody`, or one of a
batch under one signature (`offers.batch`). Whoever stores, relays or returns it hands on the very bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fastmarket._sha256 import sha256
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.varint import decode_uvarint
from fastmarket.offers.batch import MAX_BATCH_OFFERS, sign_batch
from fastmarket.offers.metadata import FileMetadata, check_text
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody

OFFER_DOMAIN = "fastmarket-offer"
OFFER_PAYLOAD_TYPE = b"/fastmarket/offer"

MAX_CONTENT_BYTES = 80  # the longest key go-libp2p-kad-dht takes for a provider record
MAX_USER_ID_BYTES = 1024  # earlier clients put an RSA-4096 public key in DER here: 550 bytes
MAX_USER_NAME_BYTES = 256
MAX_PRICE_PER_MB = 2**63 - 1  # market.User carries the price as int64
MAX_ENVELOPE_BYTES = 4096  # every field at its longest, an RSA-4096 key, its signature, a path: below 3.7 KiB
MAX_LIFETIME_S = 48 * 3600  # how long a holder that vanished can be offered; go-libp2p's provider validity
MAX_CLOCK_SKEW_S = 600  # how far a holder's clock may run ahead of ours

_SHA2_256 = b"\x12\x20"  # code and length of the multihash

OfferKey: TypeAlias = tuple[bytes, bytes, bytes]
"""What makes two offers versions of one: content, provider (raw peer id), user id."""


class Offer(NamedTuple):
    """`provider` serves `content` (a multihash) to whoever pays, as `user_name` with the opaque `user_id`.

    Of two offers with the same key the one with the higher `seq` counts. `issued_at` and `not_after` are unix
    seconds. A `withdrawn` one is a tombstone. `envelope` is the signed offer, as it travels; `body` what was
    signed in it, an `OfferBody`. (A tuple: a frozen dataclass takes six times as long to make.)
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
    body: bytes
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

        A holder that signs two with one seq gets the greater body, whichever came first: on every node.
        What surrounds the body does not count, for others than the holder may vary that.
        """
        return (self.seq, self.body) > (other.seq, other.body)

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
        check_terms(self.content, self.user_id, self.user_name, self.metadata)


def terms_of(offer: Offer) -> OfferTerms:
    """What its holder decided; checked when the offer was made."""
    made = object.__new__(OfferTerms)
    put = object.__setattr__
    put(made, "content", offer.content)
    put(made, "user_id", offer.user_id)
    put(made, "user_name", offer.user_name)
    put(made, "metadata", offer.metadata)
    return made


def check_terms(content: bytes, user_id: bytes, user_name: str, metadata: FileMetadata) -> None:
    """What holds for every offer beyond the bounds of its metadata. Raises `CallerFault` naming the field."""
    check_content(content)
    if len(user_id) > MAX_USER_ID_BYTES:
        raise CallerFault("user_id", f"more than {MAX_USER_ID_BYTES} bytes")
    check_text("user_name", user_name, MAX_USER_NAME_BYTES)
    if metadata.price_per_mb > MAX_PRICE_PER_MB:
        raise CallerFault("price_per_mb", f"more than {MAX_PRICE_PER_MB}")


def check_content(content: bytes) -> None:
    """Raises `CallerFault` unless `content` has the form of a multihash of bounded length."""
    if len(content) == 34 and content.startswith(_SHA2_256):
        return
    if len(content) > MAX_CONTENT_BYTES:
        raise CallerFault("content", f"a multihash of more than {MAX_CONTENT_BYTES} bytes")
    try:
        _, size_at = decode_uvarint(content)
        size, digest_at = decode_uvarint(content, size_at)
    except PeerFault:
        raise CallerFault("content", "not a multihash") from None
    if size == 0 or digest_at + size != len(content):
        raise CallerFault("content", "not a multihash")


@dataclass(frozen=True, slots=True)
class Signing:
    """An offer to be signed: it takes the place of `previous`; `withdrawn`: takes it back.

    Raises `CallerFault`.
    """

    terms: OfferTerms
    previous: Offer | None = None
    withdrawn: bool = False
    lifetime_s: float = MAX_LIFETIME_S

    def __post_init__(self) -> None:
        if not 1 <= self.lifetime_s <= MAX_LIFETIME_S:
            raise CallerFault("lifetime_s", f"{self.lifetime_s} is not between 1 and {MAX_LIFETIME_S}")


def sign_offer(
    identity: Identity,
    terms: OfferTerms,
    now: float,
    *,
    previous: Offer | None = None,
    lifetime_s: float = MAX_LIFETIME_S,
    withdrawn: bool = False,
) -> Offer:
    """As `sign_offers`, of one."""
    return sign_offers(identity, [Signing(terms, previous, withdrawn, lifetime_s)], now)[0]


def sign_offers(identity: Identity, signings: Sequence[Signing], now: float) -> list[Offer]:
    """Signs offers, in the order given, with one signature for up to MAX_BATCH_OFFERS.

    The seq is the time in microseconds, yet always above the previous one, so that a clock set back does not
    silence the holder. A version lives at least as long as the one it replaces, and a tombstone just so: at a
    node that never saw it an older version would come back. Batches are cut along the key space: what is
    stored at the same nodes lies in the same batch.
    """
    bodies = [_body(identity.peer_id, signing, now) for signing in signings]
    raw = [body.SerializeToString(deterministic=True) for body in bodies]
    order = sorted(range(len(raw)), key=lambda index: sha256(signings[index].terms.content))
    signed = [b""] * len(raw)
    for at in range(0, len(order), MAX_BATCH_OFFERS):
        batch = order[at : at + MAX_BATCH_OFFERS]
        for index, envelope in zip(batch, _sign(identity, [raw[index] for index in batch]), strict=True):
            signed[index] = envelope
    return [
        offer_of(body, signing.terms.metadata, identity.peer_id, (raw, envelope))
        for signing, body, raw, envelope in zip(signings, bodies, raw, signed, strict=True)
    ]


def _sign(identity: Identity, bodies: list[bytes]) -> list[bytes]:
    if len(bodies) == 1:
        return [seal(identity, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, bodies[0])]
    return sign_batch(identity, bodies)


def _body(provider: PeerId, signing: Signing, now: float) -> OfferBody:
    issued_at = int(now)
    seq = int(now * 1_000_000)
    not_after = issued_at + int(signing.lifetime_s)
    previous, terms = signing.previous, signing.terms
    if previous is not None:
        seq = max(seq, previous.seq + 1)
        least = max(issued_at + 1, min(previous.not_after, issued_at + MAX_LIFETIME_S))
        not_after = least if signing.withdrawn else max(not_after, least)
    body = OfferBody(provider=provider.raw, seq=seq, issued_at=issued_at, not_after=not_after)
    body.withdrawn = signing.withdrawn
    body.content = terms.content
    body.user_id = terms.user_id
    body.user_name = terms.user_name
    terms.metadata.write_to(body)
    return body


def offer_of(body: OfferBody, metadata: FileMetadata, provider: PeerId, signed: tuple[bytes, bytes]) -> Offer:
    """The offer in `signed`: the bytes of the body, and those that travel. Nothing is checked here."""
    return Offer(
        body.content,
        provider,
        body.user_id,
        body.user_name,
        metadata,
        body.seq,
        body.issued_at,
        body.not_after,
        body.withdrawn,
        *signed,
    )
