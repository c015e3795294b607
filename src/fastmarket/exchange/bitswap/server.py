"""Who gets which block next: the serving half of Bitswap.

Peers take turns by deficit round robin: each may take `quantum_bytes` a turn, and what it leaves over counts
in its next one. A peer with `max_outstanding_bytes` that it has not yet taken misses its turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.exchange.bitswap.message import BitswapMessage, BlockPayload, BlockWant, prefix_of
from fastmarket.exchange.bitswap.wants import WantQueue
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.identity import PeerId


class Stock(Protocol):
    """What may be served."""

    def size_for(self, peer: PeerId, multihash: bytes) -> int | None:
        """The bytes of the block; None: it is not here, or this peer may not have it."""


class ReadBlock(NamedTuple):
    """Read the block for that peer, then call `handle_block`."""

    read: int
    peer: PeerId
    multihash: bytes


class SendAnswer(NamedTuple):
    """Send this to the peer; when it was taken, call `handle_sent`. Parts as in `BitswapMessage`."""

    answer: int
    peer: PeerId
    haves: Sequence[bytes]
    absent: Sequence[bytes]
    payloads: Sequence[BlockPayload]


class DropPeer(NamedTuple):
    """The peer does not take what it wanted: drop what waits to be sent to it."""

    peer: PeerId


ServerAction: TypeAlias = ReadBlock | SendAnswer | DropPeer


@dataclass(slots=True)
class ServedTotals:
    """What was answered since the start."""

    blocks: int = 0
    block_bytes: int = 0
    haves: int = 0
    absent: int = 0  # wants of blocks that are not here, or not for that peer
    dropped_wants: int = 0  # beyond what a peer may want at once
    dropped_peers: int = 0  # took nothing while others waited


@dataclass(slots=True, eq=False)
class _Asker:
    """A peer that wants something, or has not taken all it wanted."""

    peer: PeerId
    moved_at: float  # when it last took something, or began to have something to take
    wants: WantQueue = field(default_factory=WantQueue)
    is_queued: bool = False  # for its turn
    is_in_turn: bool = False  # which was interrupted: it gets nothing more for going on
    is_gone: bool = False
    deficit: int = 0
    outstanding: int = 0  # bytes that are being read, or were read and not yet taken
    answers: set[int] = field(default_factory=set)  # sent, and not yet taken
    under_way: set[bytes] = field(default_factory=set)  # CIDs whose blocks are being read
    haves: list[bytes] = field(default_factory=list)  # of the next message, as are those below
    absent: list[bytes] = field(default_factory=list)
    payloads: list[BlockPayload] = field(default_factory=list)
    cost: int = 0


class BitswapServer:
    """Wants in, blocks out. Tell it what came, was read and was sent; then take its actions."""

    def __init__(self, config: BitswapConfig, stock: Stock) -> None:
        self._config = config
        self._stock = stock
        self._askers: BoundedMap[PeerId, _Asker] = BoundedMap(
            config.max_peers, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._turns: deque[_Asker] = deque()
        self._reads: dict[int, tuple[_Asker, BlockWant, int]] = {}  # the last is what it costs
        self._answers: dict[int, tuple[_Asker, int]] = {}
        self._numbers = 0
        self._actions: list[ServerAction] = []
        self.totals = ServedTotals()
        self.want_count = 0
        """Wants that wait for their turn, of all peers."""
        self.outstanding_bytes = 0
        """Of answers that are being made, or that their peers have not taken."""

    # -- what happens

    def handle_message(self, peer: PeerId, message: BitswapMessage, now: float) -> None:
        """The wants and cancels of a peer."""
        asker = self._askers.get(peer)
        if asker is None:
            if not message.wants:
                return
            asker = _Asker(peer, now)
            for _, evicted in self._askers.put(peer, asker):
                self._forget(evicted)
        before = len(asker.wants)
        if message.is_full:
            asker.wants.keep_only(want.cid for want in message.wants)
        for cid in message.cancels:
            asker.wants.discard(cid)
        news = [want for want in message.wants if want.cid not in asker.under_way]
        self.totals.dropped_wants += asker.wants.add(news, self._most_wants(before))
        self.want_count += len(asker.wants) - before
        self._queue(asker)

    def handle_block(self, read: int, block: bytes | None, now: float) -> None:
        """What `ReadBlock` brought; None: the block is not here any more."""
        asker, want, cost = self._reads.pop(read)
        if asker.is_gone:
            return
        asker.under_way.discard(want.cid)
        asker.cost += cost
        if block is None:
            self._say_absent(asker, want)
        else:
            asker.payloads.append(BlockPayload(prefix_of(want.cid, want.multihash), block))
            self.totals.blocks += 1
            self.totals.block_bytes += len(block)
        if not asker.under_way or asker.cost >= self._config.message_bytes:
            self._flush(asker)

    def handle_sent(self, answer: int, now: float) -> None:
        """The peer has taken an answer. Harmless when it was lost before."""
        asker, cost = self._answers.pop(answer, (None, 0))
        if asker is None:
            return
        asker.answers.remove(answer)
        asker.moved_at = now
        self._give_back(asker, cost)
        if not asker.wants and not asker.outstanding:
            self.handle_lost(asker.peer, now)

    def handle_lost(self, peer: PeerId, now: float) -> None:
        """The peer is gone, or cannot be sent anything; its answers are not waited for."""
        asker = self._askers.pop(peer)
        if asker is not None:
            self._forget(asker)

    # -- what to do

    @property
    def has_more(self) -> bool:
        """Whether a peer's turn has come, and there is room for what it gets."""
        return bool(self._turns) and self.outstanding_bytes < self._config.max_all_outstanding_bytes

    def poll_actions(self, now: float) -> list[ServerAction]:
        """What to do now. While `has_more`, ask again soon."""
        left = self._config.wants_a_turn
        while left > 0 and self.has_more:
            asker = self._turns.popleft()
            asker.is_queued = False
            left -= 1 + self._take_turn(asker, left, now)
        actions, self._actions = self._actions, []
        return actions

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: there is nothing to wait for."""
        if not self._turns or self.has_more:
            return None
        holding = (asker.moved_at for asker in self._askers.values() if asker.outstanding)
        first = min(holding, default=inf)
        return None if first == inf else first + self._config.stall_s

    def handle_timer(self, now: float) -> None:
        """Gives up on peers that have taken nothing for too long, if others wait for their room."""
        due = self.next_timer()
        if due is None or now < due:
            return
        for asker in list(self._askers.values()):
            if asker.outstanding and asker.moved_at + self._config.stall_s <= now:
                self.handle_lost(asker.peer, now)
                self.totals.dropped_peers += 1
                self._actions.append(DropPeer(asker.peer))

    # -- turns

    def _take_turn(self, asker: _Asker, most: int, now: float) -> int:
        """Answers up to `most` wants of a peer; returns how many."""
        config, count = self._config, 0
        if not asker.is_in_turn:
            asker.deficit = min(asker.deficit, MAX_BLOCK_BYTES) + config.quantum_bytes
        asker.is_in_turn = False
        while (want := asker.wants.peek()) is not None:
            if count >= most:
                asker.is_in_turn = asker.is_queued = True
                self._turns.appendleft(asker)
                break
            size = self._size(asker, want)
            sends_block = size is not None and self._sends_block(want, size)
            cost = config.presence_bytes + (size if size is not None and sends_block else 0)
            if asker.outstanding and asker.outstanding + cost > config.max_outstanding_bytes:
                break  # until it has taken something
            if cost > asker.deficit:
                self._queue(asker)
                break
            asker.wants.pop()
            self.want_count -= 1
            count += 1
            self._answer(asker, want, size, sends_block, cost, now)
        else:
            asker.deficit = 0
        if not asker.under_way:
            self._flush(asker)
        return count

    def _size(self, asker: _Asker, want: BlockWant) -> int | None:
        size = self._stock.size_for(asker.peer, want.multihash)
        return None if size is None or size > MAX_BLOCK_BYTES else size

    def _sends_block(self, want: BlockWant, size: int) -> bool:
        return not want.only_presence or size <= self._config.have_as_block_bytes

    def _answer(
        self, asker: _Asker, want: BlockWant, size: int | None, sends_block: bool, cost: int, now: float
    ) -> None:
        if not asker.outstanding:
            asker.moved_at = now
        asker.deficit -= cost
        asker.outstanding += cost
        self.outstanding_bytes += cost
        if sends_block:
            self._numbers += 1
            asker.under_way.add(want.cid)
            self._reads[self._numbers] = asker, want, cost
            self._actions.append(ReadBlock(self._numbers, asker.peer, want.multihash))
            return
        asker.cost += cost
        if size is None:
            self._say_absent(asker, want)
        else:
            asker.haves.append(want.cid)
            self.totals.haves += 1

    def _say_absent(self, asker: _Asker, want: BlockWant) -> None:
        self.totals.absent += 1
        if want.tells_absence:
            asker.absent.append(want.cid)

    def _flush(self, asker: _Asker) -> None:
        """Sends what is ready."""
        cost, asker.cost = asker.cost, 0
        if not (asker.haves or asker.absent or asker.payloads):
            if cost:  # wants without an answer
                self._give_back(asker, cost)
            return
        self._numbers += 1
        self._answers[self._numbers] = asker, cost
        asker.answers.add(self._numbers)
        self._actions.append(SendAnswer(self._numbers, asker.peer, asker.haves, asker.absent, asker.payloads))
        asker.haves, asker.absent, asker.payloads = [], [], []

    # -- accounts

    def _most_wants(self, held: int) -> int:
        """How many wants a peer may have that has `held`."""
        config = self._config
        room = max(held + config.max_wants - self.want_count, config.max_wants // config.max_peers)
        return min(config.max_wants_per_peer, room)

    def _queue(self, asker: _Asker) -> None:
        if asker.wants and not asker.is_queued:
            asker.is_queued = True
            self._turns.append(asker)

    def _give_back(self, asker: _Asker, cost: int) -> None:
        asker.outstanding -= cost
        self.outstanding_bytes -= cost
        self._queue(asker)

    def _forget(self, asker: _Asker) -> None:
        asker.is_gone = True
        for answer in asker.answers:
            del self._answers[answer]
        self.want_count -= len(asker.wants)
        self.outstanding_bytes -= asker.outstanding
        if asker.is_queued:
            self._turns.remove(asker)
