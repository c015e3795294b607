"""Sends offers to their storers: few messages for each peer, one in flight at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from fastmarket.bounded_map import BoundedMap
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
from fastmarket.offers.lookup.queries import is_stored
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_acks, encode_store

# Encoded messages that are cached: each is sent to up to k peers at about the same time.
_KEPT_MESSAGES = 8
# Bytes of a message beside its offers.
_FRAME_BYTES = 64
# Queued offers, counted for each storer; beyond this no lookup is started.
_MAX_WAITING = 65_536
# Messages in flight at once.
_MAX_SENDING = 64


class _Storer:
    """The queue of one peer."""

    __slots__ = ("count", "peer", "protocol", "sending", "waiting")

    def __init__(self, answered: Answered) -> None:
        self.peer = answered.peer
        self.protocol = answered.protocol
        self.sending = False
        self.waiting: deque[Parcel] = deque()
        self.count = 0  # offers in these


class Deliveries:
    """Sends STOREs to peers that speak the offer protocol, and a provider record for each offer to others."""

    __slots__ = (
        "_complaints",
        "_config",
        "_current",
        "_messages",
        "_out",
        "_plain",
        "_provide",
        "_ready",
        "_room",
        "_settled",
        "_storers",
        "_timeout_s",
        "_waiting",
    )

    def __init__(
        self,
        config: OfferConfig,
        provide: Callable[[Offer, PeerInfo, str], tuple[Choice, ...]],
        current: Callable[[Offer], Offer | None],
        timeout_s: float,
        complaints: Complaints,
    ) -> None:
        """`provide(offer, peer, protocol)`: the request to a standard libp2p peer. `current`: the latest
        version of an offer. `complaints` reads why storers refuse."""
        self._complaints = complaints
        self._config = config
        self._provide = provide
        self._current = current
        self._timeout_s = timeout_s
        self._room = config.max_message_bytes - _FRAME_BYTES
        self._storers: dict[PeerId, _Storer] = {}
        self._ready: OrderedDict[PeerId, _Storer] = OrderedDict()  # with a queue, and nothing in flight
        self._out: dict[int, tuple[_Storer, tuple[Parcel, ...]]] = {}
        self._plain: deque[tuple[PeerInfo, tuple[Choice, ...]]] = deque()
        self._settled: list[Settlement] = []
        self._messages: BoundedMap[tuple[int, ...], bytes] = BoundedMap(_KEPT_MESSAGES)
        self._waiting = 0

    @property
    def is_busy(self) -> bool:
        """Whether something is queued or in flight."""
        return bool(self._out or self._ready or self._plain)

    @property
    def has_room(self) -> bool:
        """Whether more may be queued."""
        return self._waiting < _MAX_WAITING

    def parcels(self, offers: Sequence[Offer]) -> Iterator[Parcel]:
        """Groups offers in the order given; whole batches that fit one message stay together."""
        return parcels(offers, self._room, self._config.max_offers_per_store)

    def add(self, parcel: Parcel, storers: Sequence[Answered], unknown: bool) -> None:
        """Queues a parcel for its storers. `unknown`: if there are none, the lookup did not prove that."""
        parcel.unknown = unknown
        protocol = self._config.protocol
        for answered in storers:
            if answered.protocol == protocol:
                storer = self._storers.get(answered.peer.peer_id) or self._storer(answered)
                storer.waiting.append(parcel)
                storer.count += len(parcel.offers)
                parcel.asked_count += 1
                if not storer.sending:
                    self._ready[storer.peer.peer_id] = storer
            else:
                told = [self._provide(offer, answered.peer, answered.protocol) for offer in parcel.offers]
                self._plain.extend((answered.peer, choices) for choices in told if choices)
                parcel.plain_count += bool(told[0])
        parcel.open_count = parcel.asked_count
        self._waiting += parcel.asked_count * len(parcel.offers)
        self._settled.extend(parcel.take_settled())

    def _storer(self, answered: Answered) -> _Storer:
        storer = self._storers[answered.peer.peer_id] = _Storer(answered)
        return storer

    def poll(self, eager: bool, token: Callable[[], int]) -> Iterable[SendRequest]:
        """Messages to send now; unless `eager`, only full ones."""
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

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Reads the acknowledgements. Raises `PeerFault` unless there is one for each offer."""
        if token not in self._out:
            return
        storer, together = self._out[token]
        count = sum(len(parcel.offers) for parcel in together)
        missing: Sequence[dict[int, Miss]] = ()
        if payload != _all_stored(count):
            missing = self._missing(storer.peer, together, count, payload, now)
        else:
            self._complaints.on_stored(storer.peer, now)
        self._leave(token)
        for at, parcel in enumerate(together):
            parcel.on_answered(missing[at] if missing else _NONE_MISSING)
            self._settled.extend(parcel.take_settled())

    def _missing(
        self, peer: PeerInfo, together: Sequence[Parcel], count: int, payload: bytes, now: float
    ) -> Sequence[dict[int, Miss]]:
        """The slots of each parcel that were not acknowledged, with the reasons."""
        reply = decode_store_reply(payload)
        if len(reply.acks) != count:
            raise PeerFault(f"{len(reply.acks)} acknowledgements for {count} offers")
        self._complaints.on_reply(peer, reply, now)
        left = zip(reply.acks, reasons_of(reply), strict=True)
        return [
            {
                slot: self._complaints.reason_text(ack, reason)
                for slot, (offer, (ack, reason)) in enumerate(zip(parcel.offers, left, strict=False))
                if not is_stored(ack, offer, self._current(offer))
            }
            for parcel in together
        ]

    def on_failed(self, token: int, kind: FailureKind) -> None:
        """The peer stored none of them; a peer that is gone is not counted."""
        if token not in self._out:
            return
        for parcel in self._leave(token):
            if kind in ABSENT:
                parcel.on_gone()
            else:
                parcel.on_failed(WHY[kind])
            self._settled.extend(parcel.take_settled())

    def take_settled(self) -> list[Settlement]:
        """Settlements since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def stop(self) -> None:
        """Sends nothing more, and settles what is not settled."""
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
        """Takes as many parcels as fit one message."""
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
        payload = self._messages.peek(key)
        if payload is None:
            alone = [parcel.envelope for parcel in together if parcel.whole is None]
            whole = [parcel.whole.data for parcel in together if parcel.whole is not None]
            payload = encode_store(alone, whole)
            self._messages.put(key, payload)
        return (Choice(self._config.protocol, payload),)


_NONE_MISSING: dict[int, Miss] = {}  # never changed


@lru_cache(maxsize=1024)
def _all_stored(count: int) -> bytes:
    """The most common reply."""
    return encode_acks([Ack.STORED] * count)


def _is_whole(parcel: Parcel) -> bool:
    return parcel.whole is not None


def _signatures(together: Iterable[Parcel]) -> int:
    whole = sum(map(_is_whole, together))
    return whole + count_signatures(parcel.envelope for parcel in together if not _is_whole(parcel))
