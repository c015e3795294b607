"""`bridge(cmd_buffer) -> (DhtClient, DhtServer)`: a node behind a bounded queue of commands.

The client may be used from any task of the loop that runs the server. Every command carries its own future,
so a caller that gives up, a late event or a second answer to a finished query affects no other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastmarket.config import HostConfig, NodeConfig
from fastmarket.errors import Busy, CallerFault, ConnectionLost, NotFound, QuorumFailed
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.live import Live
from fastmarket.net.dht_node import Bootstrapped, DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.offer_set import OfferSet

# Seconds that a command may wait for a place in the queue, and that a query may take.
QUEUE_DEADLINE_S = 5.0
QUERY_DEADLINE_S = 10.0
# Commands executed at once; others wait in the queue, which bounds them.
MAX_COMMANDS_RUNNING = 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """The cheapest live offer of a content: `owner` is the peer that signed it, whichever peer returned
    it."""

    cid: Cid
    metadata: FileMetadata
    owner: PeerId


@dataclass(frozen=True, slots=True)
class _Command(Generic[T]):
    """One caller's command."""

    call: Callable[[DhtNode], Awaitable[T]]
    answer: asyncio.Future[T]


def bridge(
    cmd_buffer: int, *, identity: Identity | None = None, config: NodeConfig | None = None
) -> tuple[DhtClient, DhtServer]:
    """A client, and the server that executes its commands.

    `cmd_buffer`: how many commands may wait, at least 1. Without an identity the node gets a new one; without
    a configuration it listens nowhere until `listen_on`. The server does nothing until `run()` is awaited.
    """
    if cmd_buffer < 1:
        raise CallerFault("cmd_buffer", f"expects at least 1, got {cmd_buffer}")
    queue: asyncio.Queue[_Command[Any]] = asyncio.Queue(cmd_buffer)
    closed = asyncio.Event()
    server = DhtServer(
        queue,
        closed,
        identity or Identity.from_seed(os.urandom(32)),
        config or NodeConfig(host=HostConfig(listen=())),
    )
    return DhtClient(queue, closed), server


class DhtServer(Live):
    """Runs the node and the commands; owns everything that must be closed."""

    def __init__(
        self,
        queue: asyncio.Queue[_Command[Any]],
        closed: asyncio.Event,
        identity: Identity,
        config: NodeConfig,
    ) -> None:
        self._queue = queue
        self._closed = closed
        self._identity = identity
        self._config = config
        self._running: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MAX_COMMANDS_RUNNING)

    async def run(self) -> None:
        """Serves until the client is closed or this call is cancelled; then the node is closed."""
        node = DhtNode(self._identity, self._config)
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            for addr in self._config.host.listen:
                await node.listen(Multiaddr.from_text(addr))
            while not self._closed.is_set():
                await self._places.acquire()
                getting = asyncio.ensure_future(self._queue.get())
                await asyncio.wait({getting, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    break
                self._begin(getting.result(), node)
        finally:
            self._closed.set()
            closing.cancel()
            await self._shut_down(node)

    def _begin(self, command: _Command[Any], node: DhtNode) -> None:
        task = asyncio.ensure_future(_carry_out(command, node))
        self._running.add(task)
        task.add_done_callback(self._ended)
        # The work of a cancelled caller is cancelled.
        command.answer.add_done_callback(lambda answer: task.cancel() if answer.cancelled() else None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._places.release()

    async def _shut_down(self, node: DhtNode) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        while not self._queue.empty():
            _refuse(self._queue.get_nowait())
        await node.close()


async def _carry_out(command: _Command[Any], node: DhtNode) -> None:
    """Executes a command. The answer or error goes to the caller; nothing may end the server."""
    try:
        result = await command.call(node)
    except asyncio.CancelledError:
        _refuse(command)
        raise
    except Exception as error:  # noqa: BLE001 - the top of a task: whatever it is, the caller shall see it
        if not command.answer.done():
            command.answer.set_exception(error)
    else:
        if not command.answer.done():
            command.answer.set_result(result)


def _refuse(command: _Command[Any]) -> None:
    if not command.answer.done():
        command.answer.set_exception(ConnectionLost("the server has stopped"))


class DhtClient(Live):
    """What programs use. Every method raises ConnectionLost once the server has stopped, and Busy if the
    queue stays full for `QUEUE_DEADLINE_S`."""

    def __init__(self, queue: asyncio.Queue[_Command[Any]], closed: asyncio.Event) -> None:
        self._queue = queue
        self._closed = closed

    def close(self) -> None:
        """Ends the server's `run()`."""
        self._closed.set()

    async def listen_on(self, addr: Multiaddr | str) -> list[Multiaddr]:
        """Listens there; returns the addresses for others, with /p2p."""
        wanted = _multiaddr("addr", addr)
        return await self._submit(lambda node: node.listen(wanted))

    async def bootstrap(
        self, peers: Sequence[tuple[PeerId | str, Multiaddr | str]], deadline_s: float = QUERY_DEADLINE_S
    ) -> Bootstrapped:
        """Joins the network through `peers`: returns when connections are up, identified and in the routing
        table, and the lookup of this node's own id has ended. Raises DialFailed if none could be reached."""
        if not peers:
            raise CallerFault("peers", "no address given")
        seeds = [PeerInfo(_peer_id(peer), (_multiaddr("peers", addr),)) for peer, addr in peers]
        return await self._submit(lambda node: node.bootstrap(seeds, deadline_s))

    async def dial(self, peer_id: PeerId | str, addr: Multiaddr | str) -> PeerId:
        """Connects to a peer and waits until it is identified. Raises DialFailed."""
        peer = PeerInfo(_peer_id(peer_id), (_multiaddr("addr", addr),))
        return await self._submit(lambda node: node.dial(peer))

    async def register(
        self, cid: Cid | str, ip: str, port: int, price_per_mb: int, *, deadline_s: float = QUERY_DEADLINE_S
    ) -> Cid:
        """Offers a content; returns when a quorum of its closest nodes holds the offer. Raises QuorumFailed
        (the offer is kept and still announced), CallerFault."""
        content = _cid(cid)
        metadata = FileMetadata(ip, port, price_per_mb)

        async def call(node: DhtNode) -> Cid:
            outcome = await node.register_offer(
                content.multihash, b"", "", metadata, deadline_s, content.form
            )
            if not outcome.is_reached:
                raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
            return content

        return await self._submit(call)

    async def register_many(
        self, files: Sequence[tuple[Cid | str, FileMetadata]], *, deadline_s: float = QUERY_DEADLINE_S
    ) -> list[Outcome]:
        """Offers many contents; returns one outcome each, in order, with `reached` if a quorum holds the
        offer.

        Much faster than one by one, because signatures, lookups and messages are shared. Offers short of
        their quorum are still announced, unless no node was asked before the deadline. Raises CallerFault,
        Busy.
        """
        named = [(_cid(cid), metadata) for cid, metadata in files]
        many = [OfferTerms(cid.multihash, b"", "", metadata, cid.form) for cid, metadata in named]
        return await self._submit(lambda node: node.register_offers(many, deadline_s))

    async def withdraw(self, cid: Cid | str, *, deadline_s: float = QUERY_DEADLINE_S) -> Cid:
        """Withdraws an offer made by `register`: afterwards no node of the network returns it any more.

        Raises QuorumFailed (the withdrawal is still announced), CallerFault if there is no such offer.
        """
        content = _cid(cid)

        async def call(node: DhtNode) -> Cid:
            outcome = await node.withdraw_offer(content.multihash, b"", deadline_s)
            if not outcome.is_reached:
                raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
            return content

        return await self._submit(call)

    async def get_file(self, cid: Cid | str, *, deadline_s: float = QUERY_DEADLINE_S) -> FoundFile:
        """The cheapest live offer. Raises NotFound."""
        content = _cid(cid)

        async def call(node: DhtNode) -> list[Offer]:
            found = OfferSet([offer async for offer in node.find_offers(content.multihash, deadline_s)])
            return found.in_order(node.now())

        offers = await self._submit(call)
        if not offers:
            raise NotFound(f"no live offer for {content}")
        best = offers[0]
        return FoundFile(content, best.metadata, best.provider)

    async def find_offers(
        self, cid: Cid | str, *, deadline_s: float = QUERY_DEADLINE_S
    ) -> AsyncGenerator[Offer, None]:
        """Verified offers as they are found; ends with the lookup. Leaving the loop ends the lookup.

        A later version of an offer, possibly a withdrawn one, has a higher `seq`: the last one counts.
        """
        content = _cid(cid)

        async def call(node: DhtNode) -> AsyncIterator[Offer]:
            return node.find_offers(content.multihash, deadline_s)

        async for offer in await self._submit(call):
            yield offer

    async def get_closest_peers(
        self, cid: Cid | str, *, deadline_s: float = QUERY_DEADLINE_S
    ) -> tuple[PeerInfo, ...]:
        """The nodes closest to a content that answered, closest first."""
        content = _cid(cid)

        async def call(node: DhtNode) -> tuple[PeerInfo, ...]:
            return tuple(view.peer for view in await node.closest_peers(content.multihash, deadline_s))

        return await self._submit(call)

    async def put_record(
        self,
        key: bytes,
        value: bytes,
        quorum: Quorum | int = Quorum.MAJORITY,
        *,
        deadline_s: float = QUERY_DEADLINE_S,
    ) -> Outcome:
        """Stores a value at the closest nodes, repeatedly. Raises QuorumFailed."""
        return await self._submit(lambda node: node.put_record(key, value, quorum, deadline_s=deadline_s))

    async def get_record(
        self, key: bytes, quorum: Quorum | int = Quorum.ONE, *, deadline_s: float = QUERY_DEADLINE_S
    ) -> bytes:
        """The best value found. Raises NotFound, or QuorumFailed if too few nodes agree on it."""
        return await self._submit(lambda node: node.get_record(key, quorum, deadline_s=deadline_s))

    async def provide(self, cid: Cid | str, *, deadline_s: float = QUERY_DEADLINE_S) -> Outcome:
        """Announces this node as a provider, like any libp2p node, until it stops."""
        content = _cid(cid)
        return await self._submit(lambda node: node.provide(content.multihash, deadline_s=deadline_s))

    async def find_providers(
        self, cid: Cid | str, *, limit: int | None = None, deadline_s: float = QUERY_DEADLINE_S
    ) -> tuple[PeerInfo, ...]:
        """Providers of a content; `limit` are enough."""
        content = _cid(cid)
        return await self._submit(
            lambda node: node.find_providers(content.multihash, limit=limit, deadline_s=deadline_s)
        )

    async def get_local_peer_id(self) -> PeerId:
        """This node's peer id."""

        async def call(node: DhtNode) -> PeerId:
            return node.peer_id

        return await self._submit(call)

    async def _submit(self, call: Callable[[DhtNode], Awaitable[T]]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed.is_set():
            raise ConnectionLost("the server has stopped")
        try:
            async with asyncio.timeout(QUEUE_DEADLINE_S):
                await self._queue.put(_Command(call, answer))
        except TimeoutError:
            raise Busy("cmd_buffer", f"was full for {QUEUE_DEADLINE_S:g} s") from None
        if self._closed.is_set():  # the server emptied the queue for the last time while we waited
            raise ConnectionLost("the server has stopped")
        return await answer


def _multiaddr(field: str, value: Multiaddr | str) -> Multiaddr:
    try:
        return Multiaddr.from_text(value) if isinstance(value, str) else value
    except CallerFault as fault:
        raise CallerFault(field, fault.reason) from None


def _peer_id(value: PeerId | str) -> PeerId:
    return PeerId.from_text(value) if isinstance(value, str) else value


def _cid(value: Cid | str) -> Cid:
    return Cid.from_link(value) if isinstance(value, str) else value
