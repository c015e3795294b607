"""Requests and replies of the offer protocol (proto/fastmarket/v1/offer.proto) and their bytes.

Frequent messages are joined from encoded parts: an envelope is a field of the reply as it is, and so is a
peer entry, which has the same field number and form in a Kademlia message. Input is bounded by its frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from google.protobuf.message import DecodeError

from fastmarket.config import KadConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import encode_uvarint
from fastmarket.kad.wire.messages import decode_message, decode_peers, read_closer
from fastmarket.native.merkle import split_store
from fastmarket.offers.model.offer import MAX_CONTENT_BYTES
from fastmarket.offers.model.refusals import Refusal
from fastmarket.pb.fastmarket.v1 import offer_pb2 as pb

MAX_ACKS = 4096  # in one reply; far above what any of our requests can cause

OFFER_OVERHEAD_BYTES = 4  # tag and length around one envelope of at most 2 MiB

# Of OfferReply, field number << 3 | wire type.
_ACKS_TAG = b"\x0a"  # packed, a byte each
_OFFERS_TAG = b"\x12"
_MORE = b"\x18\x01"
_REASONS_TAG = b"\x22"  # packed, a byte each
_NOW_TAG = b"\x28"


class Ack(IntEnum):
    """The result of one offer of a STORE."""

    UNSPECIFIED = 0  # never sent; unknown values are read as this
    STORED = 1  # stored, or held already
    SUPERSEDED = 2  # a higher seq of the same offer is held
    EXPIRED = 3  # no longer valid
    INVALID = 4  # malformed, badly signed or out of bounds
    FULL = 5  # no room


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A request to store these signed offers, and those of these encoded whole batches."""

    envelopes: tuple[bytes, ...]
    whole: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A request for the offers of `content`; `limit` 0 asks for closer peers only."""

    content: bytes
    limit: int
    max_price_per_mb: int | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class StoreReply:
    """One acknowledgement for each offer, in order. `reasons` has an entry for each that is `EXPIRED` or
    `INVALID`, None if it is unknown. `now`: the storer's clock if it was sent (unix seconds)."""

    acks: tuple[Ack, ...]
    reasons: tuple[Refusal | None, ...] = ()
    now: float | None = None


@dataclass(frozen=True, slots=True)
class FindReply:
    """Unverified envelopes, cheapest first; `more`: the peer has more."""

    envelopes: tuple[bytes, ...]
    more: bool
    closer: tuple[PeerInfo, ...]


def encode_store(envelopes: Iterable[bytes], whole: Iterable[bytes] = ()) -> bytes:
    """An OfferRequest."""
    return pb.OfferRequest(store=pb.Store(offers=envelopes, whole=whole)).SerializeToString()


def encode_find(request: FindRequest) -> bytes:
    """An OfferRequest."""
    find = pb.Find(content=request.content, limit=request.limit, skip=request.skip)
    if request.max_price_per_mb is not None:
        find.max_price_per_mb = request.max_price_per_mb
    return pb.OfferRequest(find=find).SerializeToString()


def decode_request(body: bytes, max_offers: int) -> StoreRequest | FindRequest:
    """Raises `PeerFault`: not a request, or visibly more than `max_offers` to store."""
    store = split_store(body)
    if store is not None:
        return _store_request(*store, max_offers)
    try:
        request = pb.OfferRequest.FromString(body)
    except DecodeError as error:
        raise PeerFault(f"not an offer request ({error})") from None
    if request.HasField("find"):
        find = request.find
        if not 0 < len(find.content) <= MAX_CONTENT_BYTES:
            raise LimitExceeded("bytes of content", MAX_CONTENT_BYTES, len(find.content))
        max_price = find.max_price_per_mb if find.HasField("max_price_per_mb") else None
        return FindRequest(find.content, find.limit, max_price, find.skip)
    if not request.HasField("store"):
        raise PeerFault("offer request is empty")
    return _store_request(request.store.offers, request.store.whole, max_offers)


def _store_request(offers: Sequence[bytes], whole: Sequence[bytes], max_offers: int) -> StoreRequest:
    count = len(offers) + 2 * len(whole)  # at least
    if count > max_offers:
        raise LimitExceeded("offers in a STORE", max_offers, count)
    return StoreRequest(tuple(offers), tuple(whole))


def encode_acks(acks: Iterable[Ack], reasons: Iterable[Refusal] = (), now: float = 0.0) -> bytes:
    """An OfferReply to a STORE. `reasons`: one for each ack in `WITH_REASON`; `now` is included if
    one of them is about clocks."""
    packed = bytes(acks)
    reply = _ACKS_TAG + encode_uvarint(len(packed)) + packed
    told = bytes([_REASONS.get(one, 0) for one in reasons])
    if not told:
        return reply
    reply += _REASONS_TAG + encode_uvarint(len(told)) + told
    if not _CLOCK_REASONS.isdisjoint(told):
        reply += _NOW_TAG + encode_uvarint(round(now))
    return reply


def encode_found(envelopes: Iterable[bytes], more: bool) -> bytes:
    """An OfferReply to a FIND; encoded closerPeers fields may be appended to it."""
    parts: list[bytes] = []
    for envelope in envelopes:
        parts.append(_offer_head(len(envelope)))
        parts.append(envelope)
    if more:
        parts.append(_MORE)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _offer_head(size: int) -> bytes:
    return _OFFERS_TAG + encode_uvarint(size)


def decode_store_reply(payload: bytes) -> StoreReply:
    """Raises `PeerFault`."""
    reply = _read_reply(payload)
    if len(reply.acks) > MAX_ACKS:
        raise LimitExceeded("acknowledgements", MAX_ACKS, len(reply.acks))
    acks: list[int] = list(reply.acks)
    if acks.count(Ack.STORED) == len(acks):  # nearly always
        return StoreReply((Ack.STORED,) * len(acks))
    told = tuple(_ACKS.get(ack, Ack.UNSPECIFIED) for ack in acks)
    count = sum(ack in WITH_REASON for ack in told)
    reasons = tuple(_REFUSALS.get(reason) for reason in reply.reasons[:count])
    reasons += (None,) * (count - len(reasons))  # of an older node
    return StoreReply(told, reasons, float(reply.now) if reply.HasField("now") else None)


def decode_find_reply(payload: bytes, max_offers: int, kad: KadConfig) -> FindReply:
    """Raises `PeerFault`: not a reply, or more than the `max_offers` that were requested.

    Closer peers have the same field number and form as in a Kademlia message, and are read by its decoder.
    """
    closer = read_closer(payload, None, kad.max_closer_peers, kad.max_addrs_per_peer)
    if closer is not None:  # most peers hold no offer
        return FindReply((), False, closer)
    reply = _read_reply(payload)
    if len(reply.offers) > max_offers:
        raise LimitExceeded("offers in a FIND reply", max_offers, len(reply.offers))
    entries = decode_message(payload, kad.max_closer_peers, 0).closer
    closer = decode_peers(entries, kad.max_addrs_per_peer, kad.max_peer_bytes)
    return FindReply(tuple(reply.offers), reply.more, closer)


_ACKS = {int(ack): ack for ack in Ack}
WITH_REASON = frozenset({Ack.EXPIRED, Ack.INVALID})
OF_CLOCKS = frozenset({Refusal.EXPIRED, Refusal.FUTURE})
_REASONS: dict[Refusal, int] = {
    Refusal.MALFORMED: 1,
    Refusal.FORGED: 2,
    Refusal.FOREIGN: 3,
    Refusal.LIFETIME: 4,
    Refusal.FUTURE: 5,
    Refusal.EXPIRED: 6,
}
_CLOCK_REASONS = frozenset(_REASONS[one] for one in OF_CLOCKS)
_REFUSALS = {number: refusal for refusal, number in _REASONS.items()}


def _read_reply(payload: bytes) -> pb.OfferReply:
    try:
        return pb.OfferReply.FromString(payload)
    except DecodeError as error:
        raise PeerFault(f"not an offer reply ({error})") from None
