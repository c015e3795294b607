"""Blocks over Bitswap between real nodes, and what strangers may do on its streams."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from fastmarket.config import BitswapConfig
from fastmarket.exchange.bitswap.client import AskFailed, AskOutcome, BlockAbsent, BlockSent, BlockThere
from fastmarket.exchange.bitswap.message import (
    PROTOCOLS,
    BitswapMessage,
    BlockPayload,
    BlockWant,
    WireForm,
    decode_message,
    encode_answer,
    encode_wants,
)
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import FrameDecoder, encode_uvarint, frame
from fastmarket.net.bitswap.exchange import BitswapExchange, NoBlocks
from fastmarket.net.bitswap.holder import BitswapHolder
from fastmarket.net.bitswap.outbox import Letter, Outbox
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.streams import Stream
from tests.conftest import Run
from tests.net.loopback import identity, nodes, seed, until

RAW = b"\x01\x55"
BITSWAP = "/ipfs/bitswap/1.2.0"
KIB = 1 << 10
PATIENCE_S = 60.0  # until an ask that must be answered is given up


@dataclass
class _Sized:
    size: int


@dataclass
class Memory:
    """Blocks in memory, of which those in `priced` cost something."""

    blocks: dict[bytes, bytes] = field(default_factory=dict)
    priced: set[bytes] = field(default_factory=set)

    def put(self, data: bytes) -> bytes:
        """Returns the CID, in bytes."""
        multihash = sha256_multihash(data)
        self.blocks[multihash] = data
        return RAW + multihash

    def find(self, multihash: bytes) -> _Sized | None:
        data = self.blocks.get(multihash)
        return None if data is None else _Sized(len(data))

    def read(self, multihash: bytes) -> bytes | None:
        return self.blocks.get(multihash)

    def is_free(self, multihash: bytes) -> bool:
        return multihash not in self.priced


def block(number: int, size: int = 100) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(size)


@dataclass
class Pair:
    """A seller with blocks, and a buyer; each has an exchange."""

    seller: DhtNode
    buyer: DhtNode
    memory: Memory
    selling: BitswapExchange
    buying: BitswapExchange

    async def ask(self, cid: bytes, *, only_presence: bool = False) -> AskOutcome:
        """Asks the seller, and waits for the outcome."""
        answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
        deadline = self.buyer.now() + PATIENCE_S
        self.buying.ask(seed(self.seller), cid, deadline, answer.set_result, only_presence=only_presence)
        return await answer


@asynccontextmanager
async def pair(config: BitswapConfig | None = None) -> AsyncIterator[Pair]:
    async with nodes(2) as (seller, buyer):
        memory = Memory()
        used = config or BitswapConfig()
        selling = BitswapExchange(seller.host, used, memory, memory.is_free)
        buying = BitswapExchange(buyer.host, used, NoBlocks(), memory.is_free)
        selling.start()
        buying.start()
        try:
            yield Pair(seller, buyer, memory, selling, buying)
        finally:
            await selling.close()
            await buying.close()


@asynccontextmanager
async def peer_of(node: DhtNode) -> AsyncIterator[tuple[DhtNode, Stream, asyncio.Queue[BitswapMessage]]]:
    """A stranger connected to `node`, with a stream of Bitswap to it and the messages that come back."""
    async with nodes(1, first=50) as (stranger,):
        heard: asyncio.Queue[BitswapMessage] = asyncio.Queue()

        async def listen(stream: Stream) -> None:
            stream.close_write()
            decoder = FrameDecoder(4 << 20)
            while data := await stream.read():
                for body in decoder.feed(data):
                    heard.put_nowait(decode_message(body))

        stranger.host.streams.serve(BITSWAP, listen)
        link = await stranger.host.connect(seed(node))
        yield stranger, await stranger.host.streams.open(link, [BITSWAP]), heard


def wants(*cids: bytes, only_presence: bool = False, tells: bool = True) -> bytes:
    """A framed message."""
    listed = [BlockWant(cid, cid[2:], 1, only_presence, tells) for cid in cids]
    return frame(encode_wants(listed, [], WireForm.PRESENCES))


async def is_reset(stream: Stream) -> None:
    """Until the other side has reset the stream, which it half-closed before."""
    await until(lambda: bool(stream._failure))


# -- what we ask and serve


def test_blocks_of_all_sizes_go_from_one_node_to_another(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            blocks = [block(n, size) for n, size in enumerate([1, 2, 100, 16 * KIB, 256 * KIB, 2 << 20])]
            asked = [both.ask(both.memory.put(one)) for one in blocks]
            outcomes = await asyncio.gather(*asked)
            assert [one.block for one in outcomes if isinstance(one, BlockSent)] == blocks
            totals = both.selling.server.totals
            assert (totals.blocks, totals.block_bytes) == (6, sum(map(len, blocks)))
            await until(lambda: both.selling.server.outstanding_bytes == 0)

    run(scenario())


def test_many_blocks_go_over_one_kept_stream_each_way(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            for first in range(0, 200, 50):
                cids = [both.memory.put(block(n, 10 * KIB)) for n in range(first, first + 50)]
                outcomes = await asyncio.gather(*(both.ask(cid) for cid in cids))
                assert all(isinstance(one, BlockSent) for one in outcomes)
            link = both.buyer.host.link_to(both.seller.peer_id)
            assert link is not None
            # Each side's highest stream numbers: one of ours for wants, one of theirs for blocks, and
            # identify.
            assert len(both.selling._outboxes) == len(both.buying._outboxes) == 1
            assert link.connection.stream_count <= 4

    run(scenario())


def test_what_is_not_there_or_costs_something_is_absent(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            priced = both.memory.put(block(1))
            both.memory.priced.add(priced[2:])
            for cid in (priced, RAW + sha256_multihash(b"nowhere")):
                assert isinstance(await both.ask(cid), BlockAbsent)
                assert isinstance(await both.ask(cid, only_presence=True), BlockAbsent)

    run(scenario())


def test_who_has_a_block_can_be_asked_without_getting_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            large, small = both.memory.put(block(1, 2000)), both.memory.put(block(2, 1000))
            assert isinstance(await both.ask(large, only_presence=True), BlockThere)
            assert isinstance(await both.ask(small, only_presence=True), BlockSent)

    run(scenario())


def test_a_kept_stream_that_the_other_side_ended_is_replaced(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            first, second = both.memory.put(block(1)), both.memory.put(block(2))
            await both.ask(first)
            for node in (both.seller, both.buyer):
                for streams in list(node.host.streams._streams.values()):
                    for stream in list(streams.values()):
                        stream.reset()
            assert isinstance(await both.ask(second), BlockSent)

    run(scenario())


def test_a_stream_that_rests_is_closed_and_the_next_one_serves_as_well(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair(replace(BitswapConfig(), stream_idle_s=0.01)) as both:
            first, second = both.memory.put(block(1)), both.memory.put(block(2))
            await both.ask(first)
            link = both.buyer.host.link_to(both.seller.peer_id)
            assert link is not None
            await until(lambda: not both.buyer.host.streams._streams.get(link))
            assert isinstance(await both.ask(second), BlockSent)

    run(scenario())


def test_nobody_at_the_address_is_told(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
            nobody = PeerInfo(identity(99).peer_id, (Multiaddr.from_text("/ip4/127.0.0.1/tcp/1"),))
            both.buying.ask(
                nobody, RAW + sha256_multihash(b"x"), both.buyer.now() + PATIENCE_S, answer.set_result
            )
            outcome = await answer
            assert isinstance(outcome, AskFailed)
            assert outcome.kind is FailureKind.GONE

    run(scenario())


def test_a_peer_of_unknown_address_is_looked_for(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            found: list[PeerInfo | None] = [None, seed(both.seller)]

            async def find(peer_id: PeerId) -> PeerInfo | None:
                assert peer_id == both.seller.peer_id
                return found.pop(0)

            async with nodes(1, first=60) as (node,):
                buying = BitswapExchange(node.host, BitswapConfig(), NoBlocks(), both.memory.is_free, find)
                for expected in (AskFailed, BlockSent):
                    answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
                    unknown = PeerInfo(both.seller.peer_id, ())
                    buying.start()
                    buying.ask(unknown, both.memory.put(block(1)), node.now() + PATIENCE_S, answer.set_result)
                    assert isinstance(await answer, expected)
                await buying.close()

    run(scenario())


def test_a_peer_without_bitswap_refuses(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both, nodes(1, first=20) as (plain,):
            answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
            deadline = both.buyer.now() + PATIENCE_S
            both.buying.ask(seed(plain), RAW + sha256_multihash(b"x"), deadline, answer.set_result)
            outcome = await answer
            assert isinstance(outcome, AskFailed)
            assert outcome.kind is FailureKind.REFUSED

    run(scenario())


def test_when_the_peer_goes_away_what_was_asked_of_it_fails(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both, peer_of(both.buyer) as (stranger, _, heard):
            answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
            cid = RAW + sha256_multihash(b"x")
            both.buying.ask(
                PeerInfo(stranger.peer_id, ()), cid, both.buyer.now() + PATIENCE_S, answer.set_result
            )
            assert [want.cid for want in (await heard.get()).wants] == [cid]
            link = both.buyer.host.link_to(stranger.peer_id)
            assert link is not None
            link.abort()
            outcome = await answer
            assert isinstance(outcome, AskFailed)
            assert outcome.kind is FailureKind.CLOSED

    run(scenario())


# -- as a holder of a fetch


class Fetching:
    """What a fetch is told, in order."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[int, object]] = asyncio.Queue()

    def on_block(self, request: int, block: bytes | bytearray) -> None:
        self.told.put_nowait((request, bytes(block)))

    def on_missing(self, request: int) -> None:
        self.told.put_nowait((request, None))

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        self.told.put_nowait((request, kind))


def test_a_fetch_gets_blocks_absences_and_failures(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both:
            fetching = Fetching()
            holder = BitswapHolder(both.buying, seed(both.seller), fetching)
            cid = both.memory.put(block(1))
            deadline = both.buyer.now() + PATIENCE_S

            def ask(request: int, cid: bytes, most: int = 2 << 20) -> None:
                holder.ask(Ask(request, 0, cid, deadline, most))

            ask(1, cid)
            assert await fetching.told.get() == (1, block(1))
            ask(2, RAW + sha256_multihash(b"x"))
            assert await fetching.told.get() == (2, None)
            ask(3, cid, 10)
            assert await fetching.told.get() == (3, AskFailure.OVERSIZED)
            ask(4, b"\x01\x55\x00\x01a")
            assert await fetching.told.get() == (4, AskFailure.REFUSED)
            ask(5, cid)
            holder.drop(5)
            holder.drop(77)
            ask(6, cid)
            assert await fetching.told.get() == (6, block(1))
            ask(7, cid)
            await holder.close()
            assert both.buying.client.ask_count == 0

    run(scenario())


def test_a_peer_that_sends_another_block_breaks_the_protocol(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both, peer_of(both.buyer) as (stranger, stream, heard):
            fetching = Fetching()
            holder = BitswapHolder(both.buying, PeerInfo(stranger.peer_id, ()), fetching)
            holder.ask(Ask(1, 0, RAW + sha256_multihash(b"x"), both.buyer.now() + PATIENCE_S, 2 << 20))
            await heard.get()
            payload = BlockPayload(b"\x01\x55\x12\x20", b"something else")
            await stream.write(b"".join(encode_answer([], [], [payload], WireForm.PRESENCES)))
            assert await fetching.told.get() == (1, AskFailure.MALFORMED)

    run(scenario())


# -- strangers


def test_a_stranger_gets_a_block_and_nothing_on_its_own_stream(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both, peer_of(both.seller) as (_, stream, heard):
            cid = both.memory.put(block(1, 300 * KIB))
            await stream.write(wants(cid))
            (payload,) = (await heard.get()).payloads
            assert payload == BlockPayload(b"\x01\x55\x12\x20", block(1, 300 * KIB))
            assert await stream.read() == b"", "it is half-closed at once"

    run(scenario())


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_every_version_is_spoken(run: Run[None], protocol: str) -> None:
    async def scenario() -> None:
        async with pair() as both, nodes(1, first=50) as (old,):
            heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            async def listen(stream: Stream) -> None:
                decoder = FrameDecoder(4 << 20)
                while not (bodies := decoder.feed(await stream.read())):
                    pass
                heard.set_result(bodies[0])

            old.host.streams.serve(protocol, listen)
            link = await old.host.connect(seed(both.seller))
            stream = await old.host.streams.open(link, [protocol])
            multihash = both.memory.put(block(1))[2:]
            body = encode_wants([BlockWant(multihash, multihash)], [], PROTOCOLS[protocol])
            await stream.write(frame(body))
            (payload,) = decode_message(await heard).payloads
            assert payload == BlockPayload(b"\x00\x70\x12\x20", block(1))

    run(scenario())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(encode_uvarint((4 << 20) + 1), id="too long"),
        pytest.param(b"\xff" * 20, id="no length"),
        pytest.param(frame(b"\xff\xff\xff"), id="no message"),
        pytest.param(frame(b"\x0a\x04\x0a\x02\x0a\x00"), id="no CID"),
    ],
)
def test_nonsense_costs_its_stream_alone(run: Run[None], bad: bytes) -> None:
    async def scenario() -> None:
        async with pair() as both, peer_of(both.seller) as (stranger, stream, heard):
            await stream.write(bad)
            await is_reset(stream)
            link = stranger.host.link_to(both.seller.peer_id)
            assert link is not None
            again = await stranger.host.streams.open(link, [BITSWAP])
            await again.write(wants(both.memory.put(block(1))))
            assert len((await heard.get()).payloads) == 1
            assert both.seller.host.faults.count == 0

    run(scenario())


def test_streams_of_one_peer_are_bounded(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(BitswapConfig(), max_streams_per_peer=3)
        async with pair(config) as both, peer_of(both.seller) as (stranger, first, heard):
            link = stranger.host.link_to(both.seller.peer_id)
            assert link is not None
            streams = [first, *[await stranger.host.streams.open(link, [BITSWAP]) for _ in range(3)]]
            await is_reset(streams[-1])
            await streams[0].write(wants(both.memory.put(block(1))))
            assert len((await heard.get()).payloads) == 1

    run(scenario())


def test_messages_in_part_are_bounded(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(BitswapConfig(), max_partial_bytes=100 * KIB)
        async with pair(config) as both, peer_of(both.seller) as (stranger, first, _):
            link = stranger.host.link_to(both.seller.peer_id)
            assert link is not None
            second = await stranger.host.streams.open(link, [BITSWAP])
            part = encode_uvarint(1 << 20) + bytes(60 * KIB)
            await first.write(part)
            await until(lambda: both.selling._inbound.partial_bytes >= 60 * KIB)
            await second.write(part)
            await is_reset(second)
            await until(lambda: both.selling._inbound.partial_bytes <= 61 * KIB)
            first.reset()
            await until(lambda: both.selling._inbound.partial_bytes == 0)

    run(scenario())


def test_a_peer_that_reads_nothing_makes_nobody_else_wait(run: Run[None]) -> None:
    async def scenario() -> None:
        async with pair() as both, nodes(1, first=50) as (lazy,):
            over = asyncio.Event()

            async def never_read(stream: Stream) -> None:
                await over.wait()

            lazy.host.streams.serve(BITSWAP, never_read)
            link = await lazy.host.connect(seed(both.seller))
            stream = await lazy.host.streams.open(link, [BITSWAP])
            cids = [both.memory.put(block(n, 256 * KIB)) for n in range(20)]
            await stream.write(wants(*cids))
            await until(lambda: both.selling.server.outstanding_bytes > 512 * KIB)
            outcomes = await asyncio.gather(*(both.ask(cid) for cid in cids))
            assert all(isinstance(one, BlockSent) for one in outcomes)
            assert both.selling.server.outstanding_bytes <= both.selling._config.max_outstanding_bytes
            over.set()

    run(scenario())


def test_a_peer_that_takes_nothing_for_too_long_is_given_up(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(BitswapConfig(), send_grace_s=0.05, min_send_bytes_per_s=1 << 30)
        async with pair(config) as both, nodes(1, first=50) as (lazy,):

            async def never_read(stream: Stream) -> None:
                await asyncio.Event().wait()

            lazy.host.streams.serve(BITSWAP, never_read)
            link = await lazy.host.connect(seed(both.seller))
            stream = await lazy.host.streams.open(link, [BITSWAP])
            await stream.write(wants(*(both.memory.put(block(n, 512 * KIB)) for n in range(20))))
            await until(lambda: both.selling.server.totals.blocks > 0)
            await until(lambda: both.selling.server.want_count == 0)
            assert both.selling.server.outstanding_bytes == 0

    run(scenario())


# -- bugs of ours


class Bug(Exception):
    """None that the package raises on purpose."""


def expect_bugs() -> None:
    """What the loop is told of from now on are bugs that a test made."""

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        assert isinstance(context.get("exception"), Bug), context

    asyncio.get_running_loop().set_exception_handler(note)


@pytest.mark.parametrize("broken", ["find", "read", "is_free"])
def test_a_bug_about_one_block_costs_that_block(run: Run[None], broken: str) -> None:
    async def scenario() -> None:
        expect_bugs()
        async with pair() as both:
            good, bad = both.memory.put(block(1)), both.memory.put(block(2))
            works = getattr(both.memory, broken)

            def fails(multihash: bytes) -> object:
                if multihash == bad[2:]:
                    raise Bug
                return works(multihash)

            setattr(both.memory, broken, fails)
            both.selling._stock._is_free = both.memory.is_free
            assert isinstance(await both.ask(bad), BlockAbsent)
            assert isinstance(await both.ask(good), BlockSent)

    run(scenario())


def test_after_a_bug_in_a_turn_blocks_are_served_again(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        expect_bugs()
        async with pair() as both:
            works, calls = both.selling.server.poll_actions, 0

            def fails_once(now: float) -> object:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise Bug
                return works(now)

            monkeypatch.setattr(both.selling.server, "poll_actions", fails_once)
            assert isinstance(await both.ask(both.memory.put(block(1))), BlockSent)

    run(scenario())


def test_after_a_bug_in_sending_blocks_are_served_again(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        expect_bugs()
        async with pair() as both:
            works, calls = Outbox._write, 0

            async def fails_once(outbox: Outbox, letter: Letter) -> None:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise Bug
                await works(outbox, letter)

            monkeypatch.setattr(Outbox, "_write", fails_once)
            cid = both.memory.put(block(1))
            assert isinstance(await both.ask(cid), AskFailed)
            assert isinstance(await both.ask(cid), BlockSent)

    run(scenario())
