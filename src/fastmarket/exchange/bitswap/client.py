"""What we want of which peer, and what it answers: the asking half of Bitswap.

Every want asks to be told of an absence, so that a peer answers it at once. A block is matched with its want
by its multihash, computed from its bytes: so what ends an ask is the block that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.bitswap.message import (
    BitswapMessage,
    BlockPayload,
    BlockWant,
    multihash_of,
    read_prefix,
)
from fastmarket.formats.block import digest_of
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.cid import SHA2_256_PREFIX
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.sha256 import sha256

_EMPTY_BLOCK = SHA2_256_PREFIX + sha256(b"")
# Multihashes remembered of asks of a peer that are over, 100 bytes each: its blocks for them are late or come
# twice, others are false.
MAX_PAST_ASKS = 1024
_FIRST_PRIORITY = (1 << 31) - 1  # of a peer's wants; each further one has one less, as in boxo


class BlockSent(NamedTuple):
    """The peer sent the block."""

    ask: int
    block: bytes


class BlockThere(NamedTuple):
    """The peer has the block that was asked about, and has not sent it."""

    ask: int


class BlockAbsent(NamedTuple):
    """The peer does not have the block, or not for us."""

    ask: int


class AskFailed(NamedTuple):
    """There is no answer."""

    ask: int
    kind: FailureKind


class SendWants(NamedTuple):
    """Send this to the peer; if that fails, call `handle_lost`."""

    peer: PeerId
    wants: Sequence[BlockWant]
    cancels: Sequence[bytes]


AskOutcome: TypeAlias = BlockSent | BlockThere | BlockAbsent | AskFailed


class _Ask(NamedTuple):
    number: int
    cid: bytes
    multihash: bytes
    only_presence: bool
    peer: PeerId


@dataclass(slots=True)
class _Asked:
    """A peer that was asked something; kept until it is gone, or others need its place."""

    asks: dict[bytes, list[_Ask]] = field(default_factory=dict)  # by multihash
    wants: dict[bytes, BlockWant] = field(default_factory=dict)  # to be sent, by CID
    cancels: dict[bytes, None] = field(default_factory=dict)
    priority: int = _FIRST_PRIORITY
    count: int = 0
    past: BoundedMap[bytes, None] = field(default_factory=lambda: BoundedMap(MAX_PAST_ASKS))


class BitswapClient:
    """Asks in, outcomes out: each ask has exactly one, unless it is cancelled before."""

    def __init__(self, config: BitswapConfig) -> None:
        self._config = config
        self._peers: BoundedMap[PeerId, _Asked] = BoundedMap(
            config.max_peers, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._asks: dict[int, _Ask] = {}  # in progress; bounded by peers and asks of each
        self._deadlines: list[tuple[float, int]] = []
        self._numbers = 0
        self._to_send: dict[PeerId, None] = {}
        self._outcomes: list[AskOutcome] = []
        self.unwanted_blocks = 0
        """Blocks that came unasked, or too late, since the start."""

    @property
    def ask_count(self) -> int:
        """Asks without an outcome."""
        return len(self._asks)

    def is_asked(self, peer: PeerId) -> bool:
        """Whether an answer of the peer is awaited."""
        asked = self._peers.peek(peer)
        return asked is not None and asked.count > 0

    # -- what is wanted

    def ask(
        self, peer: PeerId, cid: bytes, now: float, deadline: float, *, only_presence: bool = False
    ) -> int:
        """Asks for a block, or whether the peer has it; returns the number of the ask. Raises CallerFault
        for a CID that Bitswap does not carry, such as an identity CID."""
        multihash = multihash_of(cid)
        if multihash is None:
            raise CallerFault("cid", "is not one that a peer can be asked for")
        self._numbers += 1
        ask = _Ask(self._numbers, cid, multihash, only_presence, peer)
        if multihash == _EMPTY_BLOCK:  # boxo says that it does not have it, and it is known anyway
            self._outcomes.append(BlockSent(ask.number, b""))
            return ask.number
        asked = self._peers.get(peer) or _Asked()
        if deadline <= now or asked.count >= self._config.max_asks_per_peer:
            kind = FailureKind.TIMEOUT if deadline <= now else FailureKind.BUSY
            self._outcomes.append(AskFailed(ask.number, kind))
            return ask.number
        if peer not in self._peers:
            for _, evicted in self._peers.put(peer, asked):
                self._fail(evicted, FailureKind.BUSY)
        asked.asks.setdefault(multihash, []).append(ask)
        asked.count += 1
        asked.priority = asked.priority - 1 or _FIRST_PRIORITY
        if not only_presence or all(other.only_presence for other in asked.asks[multihash]):
            asked.wants[cid] = BlockWant(cid, multihash, asked.priority, only_presence, tells_absence=True)
        asked.cancels.pop(cid, None)
        self._asks[ask.number] = ask
        self._to_send[peer] = None
        self._arm(deadline, ask.number)
        return ask.number

    def cancel(self, number: int, now: float) -> None:
        """It is not wanted any more: no outcome follows. Harmless after its outcome."""
        ask = self._asks.get(number)
        if ask is None:
            self._outcomes = [outcome for outcome in self._outcomes if outcome.ask != number]
            return
        self._withdraw(ask)

    # -- what happens

    def handle_message(self, peer: PeerId, message: BitswapMessage, now: float) -> None:
        """Blocks and presences that a peer sent."""
        asked = self._peers.peek(peer)
        if asked is None or not asked.count:
            self.unwanted_blocks += len(message.payloads)
            return
        for payload in message.payloads:
            if not self._on_payload(asked, payload):
                self._fail(asked, FailureKind.PEER_FAULT)
                return
        for cid in message.haves:
            for ask in self._asks_of(asked, cid):
                if ask.only_presence:
                    self._end(asked, ask, BlockThere(ask.number))
        for cid in message.absent:
            for ask in self._asks_of(asked, cid):
                self._end(asked, ask, BlockAbsent(ask.number))

    def handle_lost(self, peer: PeerId, kind: FailureKind, now: float) -> None:
        """The peer is gone, or cannot be sent anything."""
        asked = self._peers.pop(peer)
        if asked is not None:
            self._fail(asked, kind)

    # -- what to do

    def poll_sends(self) -> list[SendWants]:
        """What to send now: one message a peer."""
        sends = []
        for peer in self._to_send:
            asked = self._peers.peek(peer)
            if asked is not None and (asked.wants or asked.cancels):
                sends.append(SendWants(peer, tuple(asked.wants.values()), tuple(asked.cancels)))
                asked.wants, asked.cancels = {}, {}
        self._to_send.clear()
        return sends

    def poll_outcomes(self) -> list[AskOutcome]:
        """What came of asks since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def next_timer(self) -> float | None:
        """When the first deadline is."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._asks:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def handle_timer(self, now: float) -> None:
        """Ends asks whose deadline has passed."""
        while (due := self.next_timer()) is not None and due <= now:
            ask = self._asks[heappop(self._deadlines)[1]]
            self._withdraw(ask)
            self._outcomes.append(AskFailed(ask.number, FailureKind.TIMEOUT))

    # -- inside

    def _on_payload(self, asked: _Asked, payload: BlockPayload) -> bool:
        """False for a block that was never asked for: instead of one that was, as far as can be known."""
        multihash = _multihash_of_block(payload)
        asks = asked.asks.get(multihash) if multihash is not None else None
        if not asks:
            self.unwanted_blocks += 1
            return multihash in asked.past
        for ask in tuple(asks):
            self._end(asked, ask, BlockSent(ask.number, payload.data))
        return True

    @staticmethod
    def _asks_of(asked: _Asked, cid: bytes) -> Sequence[_Ask]:
        multihash = multihash_of(cid)
        return tuple(asked.asks.get(multihash, ())) if multihash is not None else ()

    def _end(self, asked: _Asked, ask: _Ask, outcome: AskOutcome) -> None:
        self._remove(asked, ask)
        self._outcomes.append(outcome)

    def _withdraw(self, ask: _Ask) -> None:
        """Takes back a want, unless another ask needs it."""
        asked = self._peers.peek(ask.peer)
        assert asked is not None  # while one of its asks is in progress
        self._remove(asked, ask)
        is_needed = any(other.cid == ask.cid for other in asked.asks.get(ask.multihash, ()))
        if not is_needed and asked.wants.pop(ask.cid, None) is None:  # it was sent
            asked.cancels[ask.cid] = None
            self._to_send[ask.peer] = None

    def _remove(self, asked: _Asked, ask: _Ask) -> None:
        del self._asks[ask.number]
        asked.count -= 1
        asks = asked.asks[ask.multihash]
        asks.remove(ask)
        if not asks:
            del asked.asks[ask.multihash]
            asked.past.put(ask.multihash, None)

    def _fail(self, asked: _Asked, kind: FailureKind) -> None:
        for ask in [ask for asks in asked.asks.values() for ask in asks]:
            self._end(asked, ask, AskFailed(ask.number, kind))
        asked.wants.clear()

    def _arm(self, deadline: float, number: int) -> None:
        heappush(self._deadlines, (deadline, number))
        if len(self._deadlines) > 2 * len(self._asks) + 64:  # most of them are over
            self._deadlines = [one for one in self._deadlines if one[1] in self._asks]
            heapify(self._deadlines)


def _multihash_of_block(payload: BlockPayload) -> bytes | None:
    """The multihash of a block's bytes; None if nobody asks for such a one. Raises PeerFault for a malformed
    prefix."""
    code, size = read_prefix(payload.prefix)
    digest = digest_of(code, size, payload.data)
    return None if digest is None else encode_uvarint(code) + encode_uvarint(size) + digest
