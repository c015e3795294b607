"""Queries for a mixed network: FIND to peers that speak the offer protocol, Kademlia to all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import RawKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.lookup.queries import AnnounceProvider, FindNode, GetProviders
from fastmarket.kad.lookup.query import Answer, Query, Quorum, quorum_size
from fastmarket.offers.announce.complaints import Complaints, reasons_of
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.refusals import OfferRefused, Refusal
from fastmarket.offers.wire.messages import (
    OF_CLOCKS,
    Ack,
    FindReply,
    FindRequest,
    decode_find_reply,
    decode_store_reply,
    encode_find,
    encode_store,
)
from fastmarket.offers.wire.verifying import OfferVerifier
from fastmarket.trace import NULL_TRACE, Trace

# Invalid offers in a reply before the rest of it is ignored. A signature takes 50 us to verify, a rare kind
# ten times as long, and a reply has room for 200; an honest storer keeps no invalid offer.
MAX_BAD_A_REPLY = 16


@dataclass(frozen=True, slots=True)
class MoreToFetch:
    """`peer` holds more offers than the first `skip`, which it has sent."""

    peer: PeerInfo
    skip: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read replies; `refusals` counts why offers in them were refused."""

    offers: OfferConfig
    kad: KadConfig
    verifier: OfferVerifier
    refusals: Counter[Refusal]
    trace: Trace = NULL_TRACE


class FindOffersQuery(Query):
    """Asks for the offers of a content; a peer that does not speak the offer protocol, for its providers.

    Items: `Offer`, verified; `PeerInfo`, a provider; `MoreToFetch`.
    """

    __slots__ = ("_choices", "_content", "_providers", "_reading", "ranks", "speakers")

    def __init__(
        self,
        content: bytes,
        reading: Reading,
        local: PeerId,
        withdrawn: Callable[[float], Container[PeerId]] = lambda now: (),
        ranks: StorerRanks | None = None,
    ) -> None:
        """`withdrawn(now)`: peers known to have withdrawn their offers; they are no longer providers. `ranks`
        learns which storers named which offers."""
        super().__init__(seeks_peers=False)
        self._content = content
        self._reading = reading
        self._providers = GetProviders(reading.kad, RawKey(content), None, withdrawn)
        self._choices = (self.page(0), *self._providers.choices(PeerInfo(_NOBODY)))
        self.speakers = {local}
        """This node, and peers that answered on the offer protocol; asking them again brings nothing new."""
        self.ranks = StorerRanks() if ranks is None else ranks
        """How far in front storers named which offers."""

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """FIND, or else GET_PROVIDERS."""
        return self._choices

    def page(self, skip: int) -> Choice:
        """A FIND for offers beyond the first `skip`."""
        config = self._reading.offers
        return Choice(config.protocol, encode_find(FindRequest(self._content, config.find_limit, skip=skip)))

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        if protocol != self._reading.offers.protocol:
            return self._providers.read(peer, protocol, payload, now)
        return self.read_page(peer, payload, 0, now)

    def read_page(self, peer: PeerInfo, payload: bytes, skip: int, now: float) -> Answer:
        """Reads the reply to `page(skip)`. Raises `PeerFault`."""
        reply = _read_find(payload, self._reading)
        self.speakers.add(peer.peer_id)
        offers = self._verified(peer, reply, now)
        self.ranks.on_answer(ip_group(peer) or peer.peer_id, (offer.key for offer in offers), skip)
        items: list[object] = list(offers)
        if reply.more and reply.envelopes:
            items.append(MoreToFetch(peer, skip + len(reply.envelopes)))
        return Answer(reply.closer, tuple(items))

    def _verified(self, peer: PeerInfo, reply: FindReply, now: float) -> list[Offer]:
        """An invalid offer is skipped: the others of the reply may be valid.

        But a storer verifies what it keeps, so a peer that sends many invalid offers wants to waste our time.
        """
        offers, bad = [], 0
        for envelope in reply.envelopes:
            if bad == MAX_BAD_A_REPLY:
                break
            try:
                offer = self._reading.verifier.open(envelope, now)
            except OfferRefused as refused:
                bad += refused.refusal not in OF_CLOCKS  # an honest storer may send those
                self._reading.refusals[refused.refusal] += 1
                self._reading.trace.event("offer.refused", peer=peer.peer_id, reason=refused.reason)
                continue
            if offer.content == self._content:
                offers.append(offer)
        return offers


class FindStorers(Query):
    """Asks for closer peers only, and learns which protocol each peer speaks."""

    __slots__ = ("_choices", "_find_node", "_reading")

    def __init__(self, content: bytes, reading: Reading) -> None:
        super().__init__(seeks_peers=True)
        self._reading = reading
        self._find_node = FindNode(reading.kad, RawKey(content))
        find = Choice(reading.offers.protocol, encode_find(FindRequest(content, 0)))
        self._choices = (find, *self._find_node.choices(PeerInfo(_NOBODY)))

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """A FIND with limit 0, or else FIND_NODE."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        if protocol != self._reading.offers.protocol:
            return self._find_node.read(peer, protocol, payload, now)
        return Answer(_read_find(payload, self._reading).closer)


class StoreOffer:
    """A STORE to peers that speak the offer protocol; to others a provider record, which does not count."""

    __slots__ = ("_complaints", "_current", "_offer", "_protocol", "_provide", "_refusals", "_store")

    def __init__(
        self,
        offer: Offer,
        reading: Reading,
        local: Callable[[], PeerInfo],
        current: Callable[[], Offer | None],
        complaints: Complaints,
    ) -> None:
        """`local`: this peer with its current addresses; `current`: the latest version of the offer."""
        self._complaints = complaints
        self._refusals: dict[bytes, tuple[Ack, Refusal | None]] = {}  # by the peer's key
        self._offer = offer
        self._protocol = reading.offers.protocol
        self._store = (Choice(self._protocol, encode_store((offer.envelope,))),)
        self._provide = AnnounceProvider(reading.kad, RawKey(offer.content), local)
        self._current = current

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """By the protocol of the peer's answer to the lookup; before that, a STORE or else the record."""
        if answered_protocol == self._protocol:
            return self._store
        # A provider record cannot be taken back; it expires.
        plain = () if self._offer.withdrawn else self._provide.choices(peer, answered_protocol)
        return plain if answered_protocol else (*self._store, *plain)

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        """Whether the peer acknowledges offers."""
        return answered_protocol in (None, self._protocol)

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """Raises `PeerFault` unless there is exactly one acknowledgement."""
        if protocol != self._protocol:
            return None
        reply = decode_store_reply(payload)
        acks = reply.acks
        if len(acks) != 1:
            raise PeerFault(f"{len(acks)} acknowledgements for one offer")
        self._complaints.on_reply(peer, reply, now)
        if is_stored(acks[0], self._offer, self._current()):
            return True
        self._refusals[peer.peer_id.key] = acks[0], reasons_of(reply)[0]
        return False

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """The reason that its reply gave."""
        return self._complaints.reason_text(*self._refusals[peer.peer_id.key])

    def quorum_size(self, counting_peers: int) -> int:
        """A majority; with no peers the local copy is enough."""
        return quorum_size(Quorum.MAJORITY, counting_peers)


def is_stored(ack: Ack, offer: Offer, current: Offer | None) -> bool:
    """Whether the peer holds `offer`, or a `current` version that was signed after it."""
    if ack is Ack.SUPERSEDED:
        # Registered again in the meantime: the peer is ahead of this announcement. Otherwise it holds a
        # version from a time when our clock was ahead, and not this one.
        return current is not None and current.seq > offer.seq
    return ack is Ack.STORED


# The Kademlia requests are the same for every peer.
_NOBODY = PeerId(b"\x12\x20" + bytes(32))


def _read_find(payload: bytes, reading: Reading) -> FindReply:
    if len(payload) > reading.offers.max_message_bytes:
        raise LimitExceeded("bytes in an offer reply", reading.offers.max_message_bytes, len(payload))
    return decode_find_reply(payload, reading.offers.find_limit, reading.kad)
