"""Carries offers to their storers: what goes to one peer in few messages, one of them under way at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from fastmarket.config import OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.records.put_job import ABSENT, WHY
from fastmarket.native.batch import count_signatures
from fastmarket.native.candidates import Answered
from fastmarket.offers.announce.complaints import Complaints, reasons_of
from fastmarket.offers.announce.parcels import Miss, Parcel, Settlement, parcels
from fastmarket.offers.lookup.queries import stored
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_acks, encode_store

# Encoded messages kept: each goes to up to k peers, which take it at about the same time.
_KEPT_MESSAGES = 8
# Of a message, beside its offers.
_FRAME_BYTES = 64
# Offers that wait for one message each, in all; beyond it no more lookups are begun.
_MAX_WAITING = 65_536
# Messages under way at once.
_MAX_SENDING = 64


class _Storer:
    """What waits for one peer."""

    __slots__ = ("count", "peer", "protocol", "sending", "waiting")

    def __init__(self, answered: Answered) -> None:
        self.peer = answered.peer
        self.protocol = answered.protocol
        self.sending = False
        self.waiting: deque[Parcel] = deque()
        self.count = 0  # offers in these


class Deliveries:
    """STORE for peers that speak the offer protocol, a provider record an offer for others."""

    def __init__(
        self,
        config: OfferConfig,
        provide: Callable[[Offer, PeerInfo, str], tuple[Choice, ...]],
        current: Callable[[Offer], Offer | None],
        timeout_s: float,
        complaints: Complaints,
    ) -> None:
        """`provide(offer, peer, protocol)`: what a standard libp2p peer is sent. `current`: the latest.
        `complaints` reads why storers refuse."""
        self._complaints = complaints
        self._config = config
        self._provide = provide
        self._current = current
        self._timeout_s = timeout_s
        self._room = config.max_message_bytes - _FRAME_BYTES
        self._storers: dict[PeerId, _Storer] = {}
        self._ready: OrderedDict[PeerId, _Storer] = OrderedDict()  # something waits, nothing is under way
        self._out: dict[int, tuple[_Storer, tuple[Parcel, ...]]] = {}
        self._plain: deque[tuple[PeerInfo, tuple[Choice, ...]]] = deque()
        self._settled: list[Settlement] = []
        self._messages: OrderedDict[tuple[int, ...], bytes] = OrderedDict()
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Something waits or is under way."""
        return bool(self._out or self._ready or self._plain)

    @property
    def room(self) -> bool:
        """Not too much waits."""
        return self._waiting < _MAX_WAITING

    def parcels(self, offers: Sequence[Offer]) -> Iterator[Parcel]:
        """In the order given, whole batches that fit a message together."""
        return parcels(offers, self._room, self._config.max_offers_per_store)

    def add(self, parcel: Parcel, storers: Sequence[Answered], unknown: bool) -> None:
        """The storers of offers; `unknown`: were there none, that would prove nothing."""
        parcel.given, parcel.unknown = True, unknown
        protocol = self._config.protocol
        for answered in storers:
            if answered.protocol == protocol:
                storer = self._storers.get(answered.peer.peer_id) or self._storer(answered)
                storer.waiting.append(parcel)
                storer.count += len(parcel.offers)
                parcel.asked += 1
                if not storer.sending:
                    self._ready[storer.peer.peer_id] = storer
            else:
                told = [self._provide(offer, answered.peer, answered.protocol) for offer in parcel.offers]
                self._plain.extend((answered.peer, choices) for choices in told if choices)
                parcel.plain += bool(told[0])
        parcel.open = parcel.asked
        self._waiting += parcel.asked * len(parcel.offers)
        self._settled.extend(parcel.take_settled())

    def _storer(self, answered: Answered) -> _Storer:
        storer = self._storers[answered.peer.peer_id] = _Storer(answered)
        return storer

    def poll(self, eager: bool, token: Callable[[], int]) -> Iterable[SendRequest]:
        """Messages to send now. Not `eager`: only full ones."""
        while self._plain:
            peer, choices = self._plain.popleft()
            yield SendRequest(token(), peer, choices, self._timeout_s)
        held: list[_Storer] = []
        while self._ready and len(self._out) < _MAX_SENDING:
            _, storer = self._ready.popitem(last=False)
            if not eager and storer.count < self._config.max_offers_per_store:
                held.append(storer)
                continue
            number = token()
            together = self._take(storer)
            storer.sending = True
            self._out[number] = (storer, together)
            yield SendRequest(number, storer.peer, self._message(together), self._timeout_s)
        for storer in held:
            self._ready[storer.peer.peer_id] = storer

    def reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Acknowledgements. Raises `PeerFault` unless there is one for each offer."""
        if token not in self._out:
            return
        storer, together = self._out[token]
        count = sum(len(parcel.offers) for parcel in together)
        missing: Sequence[dict[int, Miss]] = ()
        if payload != _all_stored(count):
            missing = self._missing(storer.peer, together, count, payload, now)
        else:
            self._complaints.took(storer.peer, now)
        self._leave(token)
        for at, parcel in enumerate(together):
            parcel.answered(missing[at] if missing else _NONE_MISSING)
            self._settled.extend(parcel.take_settled())

    def _missing(
        self, peer: PeerInfo, together: Sequence[Parcel], count: int, payload: bytes, now: float
    ) -> Sequence[dict[int, Miss]]:
        """The slots of each parcel that were not acknowledged, and why."""
        reply = decode_store_reply(payload)
        if len(reply.acks) != count:
            raise PeerFault(f"{len(reply.acks)} acknowledgements of {count} offers")
        self._complaints.read(peer, reply, now)
        left = zip(reply.acks, reasons_of(reply), strict=True)
        return [
            {
                slot: self._complaints.text(ack, reason)
                for slot, (offer, (ack, reason)) in enumerate(zip(parcel.offers, left, strict=False))
                if not stored(ack, offer, self._current(offer))
            }
            for parcel in together
        ]

    def failed(self, token: int, kind: FailureKind) -> None:
        """The peer has none of them; one that is gone does not count."""
        if token not in self._out:
            return
        for parcel in self._leave(token):
            if kind in ABSENT:
                parcel.gone()
            else:
                parcel.failed(WHY[kind])
            self._settled.extend(parcel.take_settled())

    def take_settled(self) -> list[Settlement]:
        """Since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def stop(self) -> None:
        """Nothing more is sent; what is not settled is now."""
        for storer in self._storers.values():
            self._end(storer.waiting)
            storer.waiting.clear()
            storer.count = 0
        for _, together in self._out.values():
            self._end(together)
        self._out.clear()
        self._ready.clear()
        self._plain.clear()
        self._waiting = 0

    def _leave(self, token: int) -> tuple[Parcel, ...]:
        storer, together = self._out.pop(token)
        storer.sending = False
        if storer.waiting:
            self._ready[storer.peer.peer_id] = storer
        return together

    def _end(self, together: Iterable[Parcel]) -> None:
        for parcel in together:
            self._settled.extend(parcel.take_settled(end=True))

    def _take(self, storer: _Storer) -> tuple[Parcel, ...]:
        """As many as one message holds."""
        config, waiting = self._config, storer.waiting
        room, left = self._room, config.max_offers_per_store
        taken: list[Parcel] = []
        while waiting:
            parcel = waiting[0]
            room -= parcel.size
            left -= len(parcel.offers)
            if (room < 0 or left < 0) and taken:
                break
            taken.append(waiting.popleft())
        most = config.max_signatures_per_store
        if len(taken) > most and _signatures(taken) > most:
            waiting.extendleft(reversed(taken[most:]))
            del taken[most:]
        taken.sort(key=_is_whole)  # the order of the acknowledgements
        count = sum(len(parcel.offers) for parcel in taken)
        storer.count -= count
        self._waiting -= count
        return tuple(taken)

    def _message(self, together: tuple[Parcel, ...]) -> tuple[Choice, ...]:
        key = tuple(map(id, together))
        payload = self._messages.get(key)
        if payload is None:
            alone = [parcel.envelope for parcel in together if parcel.whole is None]
            whole = [parcel.whole.data for parcel in together if parcel.whole is not None]
            payload = self._messages[key] = encode_store(alone, whole)
            if len(self._messages) > _KEPT_MESSAGES:
                self._messages.popitem(last=False)
        return (Choice(self._config.protocol, payload),)


_NONE_MISSING: dict[int, Miss] = {}  # never changed


@lru_cache(maxsize=1024)
def _all_stored(count: int) -> bytes:
    """The reply that nearly always comes."""
    return encode_acks([Ack.STORED] * count)


def _is_whole(parcel: Parcel) -> bool:
    return parcel.whole is not None


def _signatures(together: Iterable[Parcel]) -> int:
    whole = sum(map(_is_whole, together))
    return whole + count_signatures(parcel.envelope for parcel in together if not _is_whole(parcel))
