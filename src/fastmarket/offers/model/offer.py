"""The offer: a signed, expiring promise to serve a content.

An offer is sent as a signed offer: a libp2p signed envelope (RFC 0002) around an `OfferBody`, or part of a
batch with one signature (`offers.model.batch`). Nodes that store, relay or return it pass on the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.cid import CidForm, cid_form, cid_text
from fastmarket.formats.envelope import seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.varint import decode_uvarint
from fastmarket.native.batch import SignedBatch, encode_body
from fastmarket.native.merkle import PlainOffers, untracked
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.model.batch import MAX_BATCH_OFFERS, sign_batch
from fastmarket.offers.model.metadata import FileMetadata, check_text, is_host
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
"""Offers with the same key are versions of one offer: content, provider (raw peer id), user id."""


class SignedAlone(NamedTuple):
    """The bytes of an offer that was sent by itself: its `payload`, an OfferBody, and the signed offer around
    it. Takes the place that `SignedBatch` has for the offers of a batch.
    """

    payload: bytes
    travelling: bytes

    def body(self, index: int) -> bytes:
        """The OfferBody."""
        return self.payload

    def signed(self, index: int) -> bytes:
        """The signed offer."""
        return self.travelling

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.travelling)


class Offer(NamedTuple):
    """`provider` sells `content` (a multihash) as `user_name`, with the opaque `user_id`.

    Of two offers with the same key the one with the higher `seq` is valid. `issued_at` and `not_after` are
    unix seconds. A `withdrawn` offer is a tombstone. `signed` holds its bytes; in a batch they are at `slot`.
    `form` is the form of the CID that the content was registered by, or None if it is unknown.
    (A tuple: a frozen dataclass takes six times as long to make.)
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
    signed: SignedAlone | SignedBatch
    slot: int
    form: CidForm | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Offer) and self.body == other.body and self.envelope == other.envelope
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.content, self.seq))

    @property
    def body(self) -> bytes:
        """What was signed, an `OfferBody`."""
        return self.signed.body(self.slot)

    @property
    def envelope(self) -> bytes:
        """The signed offer, as it is sent by itself."""
        return self.signed.signed(self.slot)

    @property
    def key(self) -> OfferKey:
        """The offer's identity."""
        return (self.content, self.provider.raw, self.user_id)

    @property
    def cid(self) -> str:
        """The text of that CID; empty if its form is unknown."""
        return "" if self.form is None else cid_text(self.content, self.form)

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
        """Whether this version supersedes `other`, which has the same key.

        If a holder signs two versions with the same seq, the greater body wins on every node, whichever
        arrives first. The bytes around the body are not compared: peers other than the holder can vary them.
        """
        return (self.seq, self.body) > (other.seq, other.body)

    def __repr__(self) -> str:
        """Leaves out the signed bytes, which repeat the fields."""
        told = zip(self._fields, self, strict=True)
        shown = (f"{name}={value!r}" for name, value in told if name not in ("signed", "slot"))
        return f"Offer({', '.join(shown)})"

    def __reduce__(self) -> tuple[type[Offer], tuple[object, ...]]:
        """A pickle or a copy of one offer does not contain its whole batch."""
        return Offer, tuple(alone(self))

    def is_live(self, now: float) -> bool:
        """Whether a buyer may be shown it."""
        return not self.withdrawn and now < self.not_after


def alone(offer: Offer) -> Offer:
    """The same, not held together with its batch."""
    return offer._replace(signed=SignedAlone(offer.body, offer.envelope), slot=0)


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """What a holder decides about an offer; `form`: of the CID it names the content by. Raises `CallerFault`
    naming the field."""

    content: bytes
    user_id: bytes
    user_name: str
    metadata: FileMetadata
    form: CidForm | None = None

    def __post_init__(self) -> None:
        untracked(self)
        check_terms(self.content, self.user_id, self.user_name, self.metadata)
        if self.form is not None and cid_form(*self.form, self.content) is None:
            raise CallerFault("form", f"{self.form}: the content has no such CID")


def terms_of(offer: Offer) -> OfferTerms:
    """The terms of an offer; they were checked when it was created."""
    made = object.__new__(OfferTerms)
    put = object.__setattr__
    put(made, "content", offer.content)
    put(made, "user_id", offer.user_id)
    put(made, "user_name", offer.user_name)
    put(made, "metadata", offer.metadata)
    put(made, "form", offer.form)
    return made


def check_terms(content: bytes, user_id: bytes, user_name: str, metadata: FileMetadata) -> None:
    """Checks what the metadata does not. Raises `CallerFault` naming the field."""
    check_content(content)
    if len(user_id) > MAX_USER_ID_BYTES:
        raise CallerFault("user_id", f"has more than {MAX_USER_ID_BYTES} bytes")
    check_text("user_name", user_name, MAX_USER_NAME_BYTES)
    if metadata.price_per_mb > MAX_PRICE_PER_MB:
        raise CallerFault("price_per_mb", f"is more than {MAX_PRICE_PER_MB}")


def check_content(content: bytes) -> None:
    """Raises `CallerFault` unless `content` is a well-formed multihash of bounded length."""
    if len(content) == 34 and content.startswith(_SHA2_256):
        return
    if len(content) > MAX_CONTENT_BYTES:
        raise CallerFault("content", f"is a multihash of more than {MAX_CONTENT_BYTES} bytes")
    try:
        _, size_at = decode_uvarint(content)
        size, digest_at = decode_uvarint(content, size_at)
    except PeerFault:
        raise CallerFault("content", "is not a multihash") from None
    if size == 0 or digest_at + size != len(content):
        raise CallerFault("content", "is not a multihash")


@dataclass(frozen=True, slots=True)
class Signing:
    """An offer to be signed. It supersedes `previous`; with `withdrawn` it is its tombstone.

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
    floor: int = 0,
) -> Offer:
    """Signs one offer, as `sign_offers` does."""
    return sign_offers(identity, [Signing(terms, previous, withdrawn, lifetime_s)], now, floor)[0]


def sign_offers(identity: Identity, signings: Sequence[Signing], now: float, floor: int = 0) -> list[Offer]:
    """Signs offers, in the order given, with one signature for up to MAX_BATCH_OFFERS.

    The seq is the time in microseconds, but always above the previous one, so that a clock that was set back
    does not silence the holder. It is never below `floor`, the highest seq the holder ever gave, which
    may have forgotten a previous version. A version lives at least as long as the one it supersedes, and a
    tombstone exactly as long: otherwise the older version would come back at nodes that missed the newer
    one. Batches are cut along the key space, so that offers stored at the same nodes share a batch.
    """
    seq = int(now * 1_000_000)
    if seq < floor:
        seq = floor + 1
    keys = sha256_many([signing.terms.content for signing in signings])
    order = sorted(range(len(signings)), key=keys.__getitem__)
    offers: list[Offer] = [None] * len(signings)  # type: ignore[list-item]  # each is set below
    plain = PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
    for at in range(0, len(order), MAX_BATCH_OFFERS):
        part = order[at : at + MAX_BATCH_OFFERS]
        together = [signings[one] for one in part]
        for index, offer in zip(part, _sign(identity, together, now, seq, plain), strict=True):
            offers[index] = offer
    return offers


def _sign(
    identity: Identity, signings: Sequence[Signing], now: float, seq: int, plain: PlainOffers[Offer]
) -> list[Offer]:
    """Signs one batch, or one offer by itself."""
    peer_id = identity.peer_id
    stamps = [_stamp(signing, now, seq) for signing in signings]
    bodies = [_body(peer_id.raw, *pair) for pair in zip(signings, stamps, strict=True)]
    if len(bodies) == 1:
        envelope = seal(identity, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, bodies[0])
        return [_made(peer_id, signings[0], stamps[0], SignedAlone(bodies[0], envelope), 0)]
    batch = sign_batch(identity, bodies)
    offers = batch.offers(plain, peer_id, peer_id.raw)
    return [
        offer or _made(peer_id, signings[index], stamps[index], batch, index)
        for index, offer in enumerate(offers)
    ]


_Stamp: TypeAlias = tuple[int, int, int]
"""seq, issued_at, not_after."""


def _stamp(signing: Signing, now: float, seq: int) -> _Stamp:
    issued_at = int(now)
    not_after = issued_at + int(signing.lifetime_s)
    previous = signing.previous
    if previous is not None:
        seq = max(seq, previous.seq + 1)
        least = max(issued_at + 1, min(previous.not_after, issued_at + MAX_LIFETIME_S))
        not_after = least if signing.withdrawn else max(not_after, least)
    return seq, issued_at, not_after


def _body(provider: bytes, signing: Signing, stamp: _Stamp) -> bytes:
    terms, withdrawn = signing.terms, signing.withdrawn
    place = terms.metadata
    version, codec = terms.form or (None, None)
    return encode_body(
        *(terms.content, provider, terms.user_id, terms.user_name, place.ip, place.port, place.price_per_mb),
        *(place.size, place.name, *stamp, withdrawn),
        codec=codec,
        version=version,
        ways=place.ways,
        url=place.url,
    )


def _made(
    peer_id: PeerId, signing: Signing, stamp: _Stamp, signed: SignedAlone | SignedBatch, index: int
) -> Offer:
    terms, withdrawn = signing.terms, signing.withdrawn
    seq, issued_at, not_after = stamp
    return Offer(
        terms.content,
        peer_id,
        terms.user_id,
        terms.user_name,
        terms.metadata,
        seq,
        issued_at,
        not_after,
        withdrawn,
        signed,
        index,
        terms.form,
    )


def offer_of(
    body: OfferBody,
    metadata: FileMetadata,
    provider: PeerId,
    signed: SignedAlone | SignedBatch,
    index: int = 0,
) -> Offer:
    """The offer in `signed`, from its parsed `body`. Nothing is checked."""
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
        signed,
        index,
        cid_form(body.version, body.codec, body.content)
        if body.HasField("codec") and body.HasField("version")
        else None,
    )
