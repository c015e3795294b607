"""Verifies offers from strangers, each signature once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.message import DecodeError

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.cid import cid_form
from fastmarket.formats.envelope import BadSignature, open_envelope, unverified_payload
from fastmarket.formats.identity import PeerId
from fastmarket.native.batch import SignedBatch
from fastmarket.native.merkle import (
    PlainOffers,
    body_of,
    claims,
    merkle_root,
    plain_body,
    split_batched,
)
from fastmarket.offers.model.batch import Batch, is_batched, open_batch
from fastmarket.offers.model.metadata import FileMetadata, check_metadata, is_host
from fastmarket.offers.model.offer import (
    MAX_CLOCK_SKEW_S,
    MAX_ENVELOPE_BYTES,
    MAX_LIFETIME_S,
    OFFER_DOMAIN,
    OFFER_PAYLOAD_TYPE,
    Offer,
    SignedAlone,
    check_terms,
    offer_of,
)
from fastmarket.offers.model.refusals import OfferExpired, OfferRefused, Refusal
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody

if TYPE_CHECKING:
    from fastmarket.native.merkle import Body, Claims

Signed: TypeAlias = SignedAlone | SignedBatch

_ENVELOPE_FIRST = 0x0A  # an Envelope begins with its field 1


def check_times(issued_at: int, not_after: int, now: float) -> None:
    """The part of verification that depends on the clock. Raises `OfferExpired` or `OfferRefused`."""
    if not_after <= now:
        raise OfferExpired(f"offer expired {now - not_after:.0f} s ago")
    if issued_at > now + MAX_CLOCK_SKEW_S:
        raise OfferRefused(Refusal.FUTURE, f"offer issued {issued_at - now:.0f} s in the future")


def open_offer(signed: bytes, now: float) -> Offer:
    """Verifies one offer from a stranger. Raises `OfferExpired` or another `OfferRefused`."""
    return OfferVerifier(1).open(signed, now)


def read_offer(signed: bytes) -> Offer:
    """Reads an offer that was verified before it was stored. Raises `OfferRefused`: not an offer."""
    try:
        raw = body_of(signed) if is_batched(signed) else unverified_payload(signed)
    except PeerFault as fault:
        raise _refused(fault) from None
    except ValueError as error:
        raise OfferRefused(Refusal.MALFORMED, f"bad offer: {error}") from None
    return _read(raw, SignedAlone(raw, signed))


def unverified_claims(signed: bytes) -> Claims | None:
    """What an unverified offer claims; None: it cannot be parsed.

    Enough to see that it would not be kept even if it were true: then it costs no signature check.
    """
    told = claims(signed)
    if told is None:
        try:
            raw = body_of(signed) if is_batched(signed) else unverified_payload(signed)
            body = OfferBody.FromString(raw)
        except (PeerFault, ValueError, DecodeError):
            return None
        told = body.content, body.provider, body.user_id, body.seq, body.issued_at, body.not_after
    return told if told[0] else None


def _read(raw: bytes, signed: Signed, slot: int = 0) -> Offer:
    plain = plain_body(raw)
    if plain is not None:
        return _made_of(plain, _peer(plain[1]), signed, slot)
    try:
        body = OfferBody.FromString(raw)
    except DecodeError as error:
        raise OfferRefused(Refusal.MALFORMED, f"bad offer: {error}") from None
    return offer_of(body, FileMetadata.trusted(body), _peer(body.provider), signed, slot)


def _peer(raw: bytes) -> PeerId:
    try:
        return PeerId.from_bytes(raw)
    except PeerFault as fault:
        raise _refused(fault) from None


class OfferReader:
    """`read_offer` for many offers with few signers."""

    __slots__ = ("_plain", "_signer")

    def __init__(self, signer: PeerId) -> None:
        """`signer`: the likely signer of the first offer."""
        self._plain = PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
        self._signer = signer

    def read(self, signed: bytes) -> Offer:
        """As `read_offer`."""
        plain = self._plain.read(signed, self._signer.raw, self._signer)
        if plain is not None:
            return plain
        offer = read_offer(signed)
        self._signer = offer.provider
        return offer

    def read_batch(self, data: bytes) -> tuple[SignedBatch, list[Offer]]:
        """Reads all offers of a batch that was verified before it was stored."""
        try:
            batch = SignedBatch(data)
        except ValueError as error:
            raise OfferRefused(Refusal.MALFORMED, f"bad batch of offers: {error}") from None
        first = plain_body(batch.body(0))
        if first is not None and first[1] != self._signer.raw:
            self._signer = _peer(first[1])
        made = batch.offers(self._plain, self._signer, self._signer.raw)
        return batch, [offer or _read(batch.body(slot), batch, slot) for slot, offer in enumerate(made)]


class OfferVerifier:
    """`open_offer` with a cache, so that each signature is verified once.

    A lookup returns the same offer from up to k peers, every offer of a batch brings the same root, and a
    signature costs a hundred times what a cache does. The signed bytes are the keys of the cache: there is no
    digest to compute or to collide. Of batches only the root is cached: hashing the path to it costs little
    more than finding the offer.
    """

    __slots__ = ("_batches", "_known", "_plain", "_refused", "verified_count")

    def __init__(self, capacity: int, max_batches: int = 1, max_refused: int = 1) -> None:
        """Caches `capacity` single offers, `max_batches` roots, and `max_refused` refusals."""
        self._known: BoundedMap[bytes, Offer] = BoundedMap(capacity, eviction=Eviction.LEAST_RECENTLY_USED)
        self._batches: BoundedMap[bytes, Batch] = BoundedMap(
            max_batches, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._refused: BoundedMap[bytes, tuple[Refusal, str]] = BoundedMap(max_refused)
        self._plain = PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
        self.verified_count = 0
        """How many signatures were verified so far."""

    def open(self, signed: bytes, now: float) -> Offer:
        """As `open_offer`."""
        if len(signed) > MAX_ENVELOPE_BYTES:
            raise OfferRefused(Refusal.MALFORMED, f"offer of more than {MAX_ENVELOPE_BYTES} bytes")
        offer = self._plain.open(signed)  # most likely of the same batch as the previous one
        if offer is None:
            offer = self._open_batched(signed) if is_batched(signed) else self._open_single(signed)
        check_times(offer.issued_at, offer.not_after, now)
        return offer

    def open_whole(self, whole: SignedBatch, now: float) -> list[Offer | OfferRefused]:
        """Opens all offers of a batch: each, or why it is refused."""
        try:
            signer = self._check_root(whole).signer
        except OfferRefused as refused:
            return [refused] * whole.count
        opened: list[Offer | OfferRefused] = []
        latest = now + MAX_CLOCK_SKEW_S
        offers = whole.offers(self._plain, signer, signer.raw)
        for slot, offer in enumerate(offers):
            if offer is not None and offer.not_after > now and offer.issued_at <= latest:
                opened.append(offer)
                continue
            try:
                careful = offer or _read_body(whole.body(slot), signer, whole, slot)
                check_times(careful.issued_at, careful.not_after, now)
                opened.append(careful)
            except OfferRefused as refused:
                opened.append(refused)
        return opened

    def _check_root(self, whole: SignedBatch) -> Batch:
        """Checks form and signature first: hashing a batch costs as much as verifying its signature."""
        if whole.longest > MAX_ENVELOPE_BYTES:
            raise OfferRefused(Refusal.MALFORMED, f"offer of more than {MAX_ENVELOPE_BYTES} bytes in a batch")
        batch = self._batch(whole.envelope)
        if whole.count != batch.count or whole.root() != batch.root:
            raise OfferRefused(Refusal.FORGED, "offers do not match the root of their batch")
        return batch

    def __len__(self) -> int:
        return len(self._known)

    def _open_single(self, signed: bytes) -> Offer:
        known = self._known.get(signed)
        if known is not None:
            return known
        if signed[:1] != bytes((_ENVELOPE_FIRST,)):
            raise OfferRefused(Refusal.MALFORMED, "is neither an envelope nor an offer of a batch")
        self._check_refused(signed)
        try:
            self.verified_count += 1
            envelope = open_envelope(signed, OFFER_DOMAIN, payload_types=(OFFER_PAYLOAD_TYPE,))
            offer = _read_body(envelope.payload, envelope.peer_id, SignedAlone(envelope.payload, signed))
        except PeerFault as fault:
            raise self._remember(signed, fault) from None
        self._known.put(signed, offer)
        return offer

    def _open_batched(self, signed: bytes) -> Offer:
        try:
            envelope, index, path, body = split_batched(signed)
        except ValueError as error:
            raise OfferRefused(Refusal.MALFORMED, str(error)) from None
        batch = self._batch(envelope)
        if merkle_root(body, index, batch.count, path) != batch.root:
            raise OfferRefused(Refusal.FORGED, "offer is not under the root of its batch")
        self._plain.expect(envelope, batch.root, batch.count, batch.signer, batch.signer.raw)
        return _read_body(body, batch.signer, SignedAlone(body, signed))

    def _batch(self, raw: bytes) -> Batch:
        batch = self._batches.get(raw)
        if batch is not None:
            return batch
        self._check_refused(raw)
        try:
            self.verified_count += 1
            batch = open_batch(raw)
        except PeerFault as fault:
            raise self._remember(raw, fault) from None
        self._batches.put(raw, batch)
        return batch

    def _check_refused(self, signed: bytes) -> None:
        """Raises the cached refusal: many offers under one bad signature cost one verification."""
        refused = self._refused.peek(signed)
        if refused is not None:
            raise OfferRefused(*refused)

    def _remember(self, signed: bytes, fault: PeerFault) -> OfferRefused:
        refused = fault if isinstance(fault, OfferRefused) else _refused(fault)
        self._refused.put(signed, (refused.refusal, refused.reason))
        return refused


def _refused(fault: PeerFault) -> OfferRefused:
    refusal = Refusal.FORGED if isinstance(fault, BadSignature) else Refusal.MALFORMED
    return OfferRefused(refusal, fault.reason)


def _read_body(raw: bytes, signer: PeerId, signed: Signed, index: int = 0) -> Offer:
    """The part of verification that does not depend on the clock: form, bounds, lifetime."""
    plain = plain_body(raw)
    if plain is None:
        offer, provider = _read_any(raw, signer, signed, index)
    else:
        offer, provider = _made_of(plain, signer, signed, index), plain[1]
    try:
        check_metadata(offer.metadata)
        check_terms(offer.content, offer.user_id, offer.user_name, offer.metadata)
    except CallerFault as error:
        raise OfferRefused(Refusal.MALFORMED, f"bad offer: {error}") from None
    if provider != signer.raw:
        raise OfferRefused(Refusal.FOREIGN, "offer is signed by a peer other than its provider")
    if not 0 < offer.not_after - offer.issued_at <= MAX_LIFETIME_S:
        raise OfferRefused(Refusal.LIFETIME, "offer has a lifetime out of bounds")
    return offer


def _made_of(plain: Body, provider: PeerId, signed: Signed, index: int = 0) -> Offer:
    content, _, user_id, user_name, ip, port, price, size, name = plain[:9]
    seq, issued_at, not_after, withdrawn, codec, version, ways, url = plain[9:]
    metadata = FileMetadata.checked(ip, port, price, size, name, ways, url)
    form = None if codec is None or version is None else cid_form(version, codec, content)
    place = (user_id, user_name, metadata)
    return Offer(content, provider, *place, seq, issued_at, not_after, bool(withdrawn), signed, index, form)


def _read_any(raw: bytes, signer: PeerId, signed: Signed, index: int) -> tuple[Offer, bytes]:
    """The offer in an OfferBody of any form that protobuf allows, and its provider. Nothing is checked."""
    try:
        body = OfferBody.FromString(raw)
    except DecodeError as error:
        raise OfferRefused(Refusal.MALFORMED, f"bad offer: {error}") from None
    return offer_of(body, FileMetadata.trusted(body), signer, signed, index), body.provider
