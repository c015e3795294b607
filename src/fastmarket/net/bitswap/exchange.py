"""Bitswap of one host: serves blocks to its peers, and asks them for blocks.

Both halves are sans-IO (`exchange.bitswap`); here are their streams, their timer, and the reading of blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.exchange.bitswap.client import AskOutcome, BitswapClient, SendWants
from fastmarket.exchange.bitswap.message import (
    PROTOCOLS,
    BitswapMessage,
    WireForm,
    encode_answer,
    encode_wants,
)
from fastmarket.exchange.bitswap.server import BitswapServer, DropPeer, ReadBlock, SendAnswer, ServerAction
from fastmarket.faults import Faults
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import frame
from fastmarket.net.bitswap.inbound import Inbound
from fastmarket.net.bitswap.outbox import FindPeer, Letter, Outbox
from fastmarket.net.host import Host
from fastmarket.net.pump import Pump


class SizedBlock(Protocol):
    """Where a block is."""

    @property
    def size(self) -> int:
        """Its bytes."""


class FreeBlocks(Protocol):
    """The blocks that a node serves over Bitswap. Called in the event loop, as
    `content.source.BlockSource`."""

    def find(self, multihash: bytes) -> SizedBlock | None:
        """None: it is not here."""

    def read(self, multihash: bytes) -> bytes | None:
        """The block; None likewise."""


class NoBlocks:
    """Serves nothing: a node that only asks."""

    def find(self, multihash: bytes) -> SizedBlock | None:
        return None

    def read(self, multihash: bytes) -> bytes | None:
        return None


class PricedBlocks(Protocol):
    """What is sold to peers that pay; see `payments.peer_sales.PeerSales`."""

    def may_have(self, peer: PeerId, block: bytes, now: float) -> bool:
        """Whether it would be served to that peer now."""

    def charge(self, peer: PeerId, block: bytes, now: float) -> bool:
        """Whether it is; then it counts as sent."""


class _Stock:
    """What the server may give away, or sell. A bug in what it asks costs one block."""

    def __init__(
        self,
        blocks: FreeBlocks,
        is_free: Callable[[bytes], bool],
        priced: PricedBlocks | None,
        now: Callable[[], float],
        faults: Faults,
    ) -> None:
        self._blocks = blocks
        self._is_free = is_free
        self._priced = priced
        self._now = now
        self._faults = faults

    def size_for(self, peer: PeerId, multihash: bytes) -> int | None:
        try:
            found = self._blocks.find(multihash)
            if found is None:
                return None
            may_have = self._is_free(multihash) or (
                self._priced is not None and self._priced.may_have(peer, multihash, self._now())
            )
            return found.size if may_have else None
        except Exception as error:  # noqa: BLE001 - see the class
            self._faults.tell("finding a block", error)
            return None

    def read_for(self, peer: PeerId, multihash: bytes) -> bytes | None:
        """The block; None: it is not here any more, or has to be paid for first."""
        try:
            block = self._blocks.read(multihash)
            if block is None or self._priced is None or self._is_free(multihash):
                return block
            return block if self._priced.charge(peer, multihash, self._now()) else None
        except Exception as error:  # noqa: BLE001 - see the class
            self._faults.tell("reading a block", error)
            return None


class BitswapExchange:
    """`blocks` are served where `is_free(multihash)`; `start` begins to. A peer of unknown address that is
    asked is looked for by `find_peer`. `priced`: sells the others; None: they are not served."""

    def __init__(
        self,
        host: Host,
        config: BitswapConfig,
        blocks: FreeBlocks,
        is_free: Callable[[bytes], bool],
        find_peer: FindPeer | None = None,
        priced: PricedBlocks | None = None,
    ) -> None:
        self._host = host
        self._find_peer = find_peer
        self._config = config
        self._stock = _Stock(blocks, is_free, priced, host.clock.now, host.faults)
        self.server = BitswapServer(config, self._stock)
        self.client = BitswapClient(config)
        self._inbound = Inbound(config, self._on_message)
        self._outboxes: BoundedMap[PeerId, Outbox] = BoundedMap(
            config.max_peers, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._reads: deque[ReadBlock] = deque()  # bounded by what the server has outstanding
        self._on_outcome: dict[int, Callable[[AskOutcome], None]] = {}  # by ask
        self._pump = Pump(host.run_queue, self._next_timer, self._turn, self._on_bug)

    @property
    def held_bytes(self) -> int:
        """Blocks read and not yet taken by their peers, messages that have come in part, wants that wait."""
        return self.server.outstanding_bytes + self._inbound.partial_bytes

    def start(self) -> None:
        """Takes streams of Bitswap from now on. Harmless when it does already."""
        if self in self._host.observers:
            return
        for protocol in PROTOCOLS:
            self._host.streams.serve(protocol, self._inbound.read, self._inbound.shares)
        self._host.observers.append(self)

    async def close(self) -> None:
        """Ends what is under way, without outcomes."""
        self._pump.close()
        self._reads.clear()
        self._on_outcome.clear()
        for outbox in list(self._outboxes.values()):
            await outbox.close()
        self._outboxes.clear()

    # -- asking

    def ask(
        self,
        peer: PeerInfo,
        cid: bytes,
        deadline: float,
        on_outcome: Callable[[AskOutcome], None],
        *,
        only_presence: bool = False,
    ) -> int:
        """Asks a peer for a block, over its connection or after dialing it. `on_outcome` is called once,
        later; the result is for `cancel`. Raises CallerFault for a CID that Bitswap does not carry."""
        now = self._host.clock.now()
        number = self.client.ask(peer.peer_id, cid, now, deadline, only_presence=only_presence)
        self._on_outcome[number] = on_outcome
        self._outbox(peer)
        self._pump.wake()
        return number

    def cancel(self, number: int) -> None:
        """The block is not wanted any more: no outcome follows. Harmless after its outcome."""
        if self._on_outcome.pop(number, None) is not None:
            self.client.cancel(number, self._host.clock.now())
            self._pump.wake()

    # -- HostObserver

    def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        """Nothing depends on it: a stream is offered all versions."""

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        """What it wanted is forgotten; what was wanted of it fails."""
        outbox = self._outboxes.pop(peer_id)
        if outbox is not None:
            outbox.drop()
        self._lose(peer_id, FailureKind.CLOSED, now)

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        """Its outbox finds out by itself."""

    # -- turns

    def _on_message(self, peer: PeerId, message: BitswapMessage) -> None:
        now = self._host.clock.now()
        self._pump.wake()
        if message.wants or message.cancels or message.is_full:
            self.server.handle_message(peer, message, now)
        if message.payloads or message.haves or message.absent:
            self.client.handle_message(peer, message, now)

    def _next_timer(self) -> float | None:
        if self.server.has_more:
            return 0.0  # at once, after others
        timers = [at for at in (self.server.next_timer(), self.client.next_timer()) if at is not None]
        return min(timers, default=None)

    def _turn(self, now: float) -> None:
        self.server.handle_timer(now)
        self.client.handle_timer(now)
        for action in self.server.poll_actions(now):
            self._do(action)
        for send in self.client.poll_sends():
            self._send_wants(send)
        for outcome in self.client.poll_outcomes():
            on_outcome = self._on_outcome.pop(outcome.ask, None)
            if on_outcome is not None:
                self._host.faults.run("handling a block of a peer", on_outcome, outcome)

    def _do(self, action: ServerAction) -> None:
        if isinstance(action, SendAnswer):
            self._send_answer(action)
        elif isinstance(action, DropPeer):
            outbox = self._outboxes.pop(action.peer)
            if outbox is not None:
                outbox.drop()
                self.client.handle_lost(action.peer, FailureKind.TIMEOUT, self._host.clock.now())
        else:
            self._reads.append(action)
            if len(self._reads) == 1:
                self._host.run_queue.run_later(self._read_next)

    def _read_next(self) -> None:
        """One block at a time: other connections have their turns between them."""
        if not self._reads:
            return
        read = self._reads.popleft()
        block = self._stock.read_for(read.peer, read.multihash)
        self.server.handle_block(read.read, block, self._host.clock.now())
        if self._reads:
            self._host.run_queue.run_later(self._read_next)
        self._pump.wake()

    def _on_bug(self, error: Exception) -> None:
        self._host.faults.tell("exchanging blocks", error)

    # -- sending

    def _send_answer(self, answer: SendAnswer) -> None:
        encode = partial(encode_answer, answer.haves, answer.absent, answer.payloads)
        on_sent = partial(self._on_sent, answer.answer)
        self._outbox(PeerInfo(answer.peer, ())).answer(Letter(encode, on_sent))

    def _on_sent(self, answer: int) -> None:
        self.server.handle_sent(answer, self._host.clock.now())
        self._pump.wake()

    def _send_wants(self, send: SendWants) -> None:
        outbox = self._outboxes.get(send.peer)
        if outbox is not None:
            encode = partial(_framed_wants, send)
            outbox.want(Letter(encode, _nothing_more, may_dial=True))

    def _outbox(self, peer: PeerInfo) -> Outbox:
        outbox = self._outboxes.get(peer.peer_id)
        if outbox is None:
            outbox = Outbox(
                self._host, self._config, peer, partial(self._on_lost, peer.peer_id), self._find_peer
            )
            for evicted_id, evicted in self._outboxes.put(peer.peer_id, outbox):
                evicted.drop()
                self._lose(evicted_id, FailureKind.BUSY, self._host.clock.now())
        elif peer.addrs:
            outbox.peer = peer
        return outbox

    def _on_lost(self, peer_id: PeerId, kind: FailureKind, detail: str) -> None:
        self._outboxes.pop(peer_id)
        self._lose(peer_id, kind, self._host.clock.now())

    def _lose(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        self.server.handle_lost(peer_id, now)
        self.client.handle_lost(peer_id, kind, now)
        self._pump.wake()


def _framed_wants(send: SendWants, form: WireForm) -> tuple[bytes]:
    return (frame(encode_wants(send.wants, send.cancels, form)),)


def _nothing_more() -> None:
    """Wants are answered by the peer, whatever the connection took."""
