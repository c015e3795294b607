"""Carries offers to their storers: what goes to one peer in few messages, one of them under way at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from fastmarket.config import OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.jobs import Outgoing
from fastmarket.kad.query import Quorum, quorum_size
from fastmarket.kad.search import Answered
from fastmarket.offers.asks import stored
from fastmarket.offers.batch import signatures
from fastmarket.offers.messages import OFFER_OVERHEAD_BYTES, Ack, decode_store_reply, encode_store
from fastmarket.offers.model import Offer
from fastmarket.offers.views import StoreOutcome

# Encoded messages kept: each goes to up to k peers, which take it at about the same time.
_KEPT_MESSAGES = 8
# Of a message, beside its offers.
_FRAME_BYTES = 64
# Offers that wait for one message each, in all; beyond it no more lookups are begun.
_MAX_WAITING = 65_536
# Messages under way at once.
_MAX_SENDING = 64


# Of a hundred thousand offers a dozen different ones are told, twice each.
_outcome = lru_cache(maxsize=1024)(StoreOutcome)


class Item:
    """One offer on its way: how many storers there are, have answered and have it."""

    __slots__ = ("acknowledged", "asked", "given", "offer", "open", "plain", "settled", "unknown")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.given = False  # its storers are known
        self.settled = False  # its quorum is met, or it is done
        self.unknown = False  # if it has no storer: somebody may be there who did not answer
        self.asked = self.open = self.acknowledged = self.plain = 0

    def outcome(self) -> StoreOutcome:
        """So far."""
        nobody = not self.asked and not self.plain
        wanted = int(self.unknown) if nobody else quorum_size(Quorum.MAJORITY, self.asked)
        return _outcome(self.acknowledged, self.asked, wanted, self.plain)


class _Storer:
    """What waits for one peer."""

    __slots__ = ("peer", "protocol", "sending", "waiting")

    def __init__(self, answered: Answered) -> None:
        self.peer = answered.peer
        self.protocol = answered.protocol
        self.sending = False
        self.waiting: deque[Item] = deque()


class Deliveries:
    """STORE for peers that speak the offer protocol, a provider record an offer for others."""

    def __init__(
        self,
        config: OfferConfig,
        provide: Callable[[Offer, PeerInfo, str], tuple[Choice, ...]],
        current: Callable[[Offer], Offer | None],
        timeout_s: float,
    ) -> None:
        """`provide(offer, peer, protocol)`: what a standard libp2p peer is sent. `current`: the latest."""
        self._config = config
        self._provide = provide
        self._current = current
        self._timeout_s = timeout_s
        self._storers: dict[PeerId, _Storer] = {}
        self._ready: OrderedDict[PeerId, _Storer] = OrderedDict()  # something waits, nothing is under way
        self._out: dict[int, tuple[_Storer, tuple[Item, ...]]] = {}
        self._plain: deque[tuple[PeerInfo, tuple[Choice, ...]]] = deque()
        self._settled: list[Item] = []
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

    def add(self, item: Item, storers: Sequence[Answered], unknown: bool) -> None:
        """The storers of an offer; `unknown`: were there none, that would prove nothing."""
        item.given, item.unknown = True, unknown
        protocol = self._config.protocol
        for answered in storers:
            if answered.protocol == protocol:
                storer = self._storers.get(answered.peer.peer_id) or self._storer(answered)
                storer.waiting.append(item)
                item.asked += 1
                if not storer.sending:
                    self._ready[storer.peer.peer_id] = storer
            elif choices := self._provide(item.offer, answered.peer, answered.protocol):
                item.plain += 1
                self._plain.append((answered.peer, choices))
        item.open = item.asked
        self._waiting += item.asked
        if not item.open:
            self._settle(item)

    def _storer(self, answered: Answered) -> _Storer:
        storer = self._storers[answered.peer.peer_id] = _Storer(answered)
        return storer

    def poll(self, eager: bool, token: Callable[[], int]) -> Iterable[Outgoing]:
        """Messages to send now. Not `eager`: only full ones."""
        while self._plain:
            peer, choices = self._plain.popleft()
            yield Outgoing(token(), peer, choices, self._timeout_s)
        held: list[_Storer] = []
        while self._ready and len(self._out) < _MAX_SENDING:
            _, storer = self._ready.popitem(last=False)
            if not eager and len(storer.waiting) < self._config.max_offers_per_store:
                held.append(storer)
                continue
            number = token()
            items = self._take(storer)
            storer.sending = True
            self._out[number] = (storer, items)
            yield Outgoing(number, storer.peer, self._message(items), self._timeout_s)
        for storer in held:
            self._ready[storer.peer.peer_id] = storer

    def reply(self, token: int, protocol: str, payload: bytes) -> None:
        """Acknowledgements. Raises `PeerFault` unless there is one for each offer."""
        if token not in self._out:
            return
        items = self._out[token][1]
        acks = decode_store_reply(payload).acks
        if len(acks) != len(items):
            raise PeerFault(f"{len(acks)} acknowledgements of {len(items)} offers")
        self._leave(token)
        taken = Ack.STORED
        for item, ack in zip(items, acks, strict=True):
            item.open -= 1
            if ack is taken or stored(ack, item.offer, self._current(item.offer)):
                item.acknowledged += 1
            if not item.settled and (2 * item.acknowledged > item.asked or not item.open):
                item.settled = True
                self._settled.append(item)

    def failed(self, token: int) -> None:
        """The peer has none of them."""
        if token not in self._out:
            return
        for item in self._leave(token):
            item.open -= 1
            if not item.settled and not item.open:
                self._settle(item)

    def take_settled(self) -> list[Item]:
        """Since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def stop(self) -> None:
        """Nothing more is sent; what is not settled is now."""
        for storer in self._storers.values():
            for item in storer.waiting:
                self._settle(item)
            storer.waiting.clear()
        for _, items in self._out.values():
            for item in items:
                self._settle(item)
        self._out.clear()
        self._ready.clear()
        self._plain.clear()
        self._waiting = 0

    def _leave(self, token: int) -> tuple[Item, ...]:
        storer, items = self._out.pop(token)
        storer.sending = False
        if storer.waiting:
            self._ready[storer.peer.peer_id] = storer
        return items

    def _settle(self, item: Item) -> None:
        if not item.settled:
            item.settled = True
            self._settled.append(item)

    def _take(self, storer: _Storer) -> tuple[Item, ...]:
        """As many as one message holds."""
        config, waiting = self._config, storer.waiting
        room = config.max_message_bytes - _FRAME_BYTES
        items: list[Item] = []
        while waiting and len(items) < config.max_offers_per_store:
            room -= len(waiting[0].offer.envelope) + OFFER_OVERHEAD_BYTES
            if room < 0 and items:
                break
            items.append(waiting.popleft())
        most = config.max_signatures_per_store
        if len(items) > most and signatures(item.offer.envelope for item in items) > most:
            waiting.extendleft(reversed(items[most:]))
            del items[most:]
        self._waiting -= len(items)
        return tuple(items)

    def _message(self, items: tuple[Item, ...]) -> tuple[Choice, ...]:
        key = tuple(map(id, items))
        payload = self._messages.get(key)
        if payload is None:
            payload = self._messages[key] = encode_store(item.offer.envelope for item in items)
            if len(self._messages) > _KEPT_MESSAGES:
                self._messages.popitem(last=False)
        return (Choice(self._config.protocol, payload),)
