"""Each bound crossed over a real socket, while honest peers beside the one who crosses it are served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from math import inf
from typing import Any

import pytest

from fastmarket.config import ConnectionConfig, HostConfig, NodeConfig, OfferConfig
from fastmarket.errors import LimitExceeded, StreamFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.kad.wire.messages import Field, Kind, encode_peer, encode_request
from fastmarket.libp2p.connection_policy import ConnectionRefusal
from fastmarket.libp2p.identify import IDENTIFY_PROTOCOL, IdentifyResponder
from fastmarket.libp2p.ping import PING_BYTES, PING_PROTOCOL
from fastmarket.libp2p.requests import Failed, Reply
from fastmarket.native.batch import SignedBatch
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.net.streams import Stream
from fastmarket.net.transports.tcp.link import MAX_WRITES_A_TURN, SLICE_BYTES
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, Signing, sign_offers
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from tests.conftest import Run
from tests.net.guests import ELSEWHERE, come, endpoint_of, guests
from tests.net.loopback import ask, identity, nodes, seed, until

KAD = NodeConfig().kad.protocol
OFFER = NodeConfig().offers.protocol
FIND = Choice(KAD, encode_request(Kind.FIND_NODE, b"somewhere"))
DEAF = "/test/deaf/1.0.0"


@asynccontextmanager
async def crowd(count: int = 1, **bounds: Any) -> AsyncIterator[tuple[DhtNode, DhtNode, list[DhtNode]]]:
    """A node with these bounds, an honest peer that is connected to it, and `count` guests."""
    config = NodeConfig()
    names = ConnectionConfig.__dataclass_fields__
    config = replace(
        config,
        host=replace(config.host, **{name: bounds[name] for name in bounds if name not in names}),
        connection=replace(config.connection, **{name: bounds[name] for name in bounds if name in names}),
    )
    async with nodes(1, config) as (node,), guests(1, first=700) as (honest,), guests(count) as others:
        await honest.dial(seed(node))
        yield node, honest, others
        await served(honest, node)


async def served(honest: DhtNode, node: DhtNode) -> None:
    """It has an answer over the connection it had, and can make another one."""
    assert isinstance(await ask(honest, seed(node), FIND), Reply)
    async with guests(1, first=800) as (newcomer,):
        assert isinstance(await ask(newcomer, seed(node), FIND), Reply)


async def met(guest: DhtNode, node: DhtNode) -> Link:
    link = await come(guest, node, ELSEWHERE)
    assert link is not None
    return link


async def amount(stream: Stream, wanted: int) -> int:
    """Reads that much."""
    size = 0
    while size < wanted:
        size += len(await stream.read())
    return size


async def is_reset(stream: Stream) -> bool:
    """Waits for its end."""
    try:
        while await stream.read():
            pass
    except StreamFailed:
        return True
    return False


# -- connections


def test_connections_in_all(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), host=HostConfig(max_connections=3))
        async with nodes(1, config) as (node,), guests(5) as peers:
            came = [await come(peer, node) for peer in peers]
            assert [link is not None for link in came] == [True] * 3 + [False] * 2
            for peer in peers[:3]:
                assert isinstance(await ask(peer, seed(node), FIND), Reply)
            await peers[0].close()
            await until(lambda: node.host.connection_count == 2)
            assert await come(peers[4], node) is not None

    run(scenario())


def test_connections_of_one_peer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(max_connections_per_peer=2) as (node, _, (greedy,)):
            links = [await come(greedy, node) for _ in range(5)]
            await until(lambda: node.host.connection_count == 1 + 2)
            await until(lambda: greedy.host.connection_count == 2)
            assert [link is not None and link.is_open for link in links] == [True] * 2 + [False] * 3
            assert isinstance(await ask(greedy, seed(node), FIND), Reply)

    run(scenario())


def test_connections_of_one_address(run: Run[None], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fastmarket")

    async def scenario() -> None:
        bounds = {"limit_loopback": True, "max_connections_per_ip": 3}
        async with crowd(5, **bounds) as (node, _, many):
            came = [await come(peer, node, ELSEWHERE) for peer in many]
            assert [link is not None for link in came] == [True] * 3 + [False] * 2
            assert node.host.links.refusals == {ConnectionRefusal.SOURCE_FULL: 2}
            (line,) = [record.message for record in caplog.records if "refused" in record.message]
            assert line.startswith("refused a connection from 127.0.0.9: too many"), "told once a minute"
            await many[0].close()
            await until(lambda: node.host.connection_count == 3)
            assert await come(many[4], node, ELSEWHERE) is not None

    run(scenario())


def test_this_machine_is_exempt_unless_told_otherwise(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(5, max_connections_per_ip=1, inbound_burst_per_ip=1) as (node, _, many):
            assert None not in [await come(peer, node, ELSEWHERE) for peer in many]

    run(scenario())


def test_the_rate_of_connections_of_one_address(run: Run[None]) -> None:
    async def scenario() -> None:
        bounds = {"limit_loopback": True, "inbound_burst_per_ip": 4, "inbound_rate_per_ip": 1e-6}
        async with crowd(6, **bounds) as (node, _, many):
            for peer in many:  # each leaves before the next one comes: it is the rate that counts
                link = await come(peer, node, ELSEWHERE)
                assert (link is not None) is (peer in many[:4])
                if link is not None:
                    link.abort()
                await until(lambda: node.host.connection_count == 1)

    run(scenario())


def test_handshakes_under_way_from_one_address(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(limit_loopback=True, max_pending_per_ip=3) as (node, _, (other,)):
            half_open = [
                await asyncio.open_connection(*endpoint_of(node), local_addr=(ELSEWHERE, 0)) for _ in range(5)
            ]
            for reader, _ in half_open[3:]:
                assert await reader.read() == b""
            assert node.host.connection_count == 1 + 3
            assert await come(other, node, ELSEWHERE) is None
            half_open[0][1].close()
            await until(lambda: node.host.connection_count == 3)
            assert await come(other, node, ELSEWHERE) is not None
            for _, writer in half_open:
                writer.close()

    run(scenario())


def test_the_time_of_a_handshake(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(handshake_timeout_s=0.2) as (node, _, _):
            reader, writer = await asyncio.open_connection(*endpoint_of(node))
            writer.write(b"\x13/multistream/1.0.0\n")  # a promising start, and no more
            assert (await reader.read()).startswith(b"\x13/multistream/1.0.0\n")
            writer.close()
            await until(lambda: node.host.connection_count == 1)

    run(scenario())


# -- streams


async def deaf(stream: Stream) -> None:
    """Never reads; ends when the test does."""
    await asyncio.Event().wait()


def test_inbound_streams_of_a_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(max_inbound_streams=4) as (node, _, (greedy,)):
            node.host.streams.serve(DEAF, deaf)
            link = await met(greedy, node)
            kept = [await greedy.host.streams.open(link, [DEAF]) for _ in range(4)]
            for _ in range(3):
                with pytest.raises(StreamFailed):
                    await greedy.host.streams.open(link, [DEAF])
            kept[0].reset()
            await greedy.host.streams.open(link, [DEAF])
            assert link.connection.stream_count == 4

    run(scenario())


def test_outbound_streams_of_a_connection(run: Run[None]) -> None:
    """Programs are told; requests of the node wait for one another."""

    async def scenario() -> None:
        async with crowd(max_outbound_streams=4) as (node, _, (peer,)):
            peer.host.streams.serve(DEAF, deaf)
            await met(peer, node)
            link = node.host.link_to(peer.peer_id)
            assert link is not None
            kept = [await node.host.streams.open(link, [DEAF]) for _ in range(4)]
            with pytest.raises(LimitExceeded):
                await node.host.streams.open(link, [DEAF])
            for stream in kept:
                stream.reset()
            peer.host.serve(KAD, lambda peer, body, now: body, 100)
            # Its identify listed no Kad; the host proposes it all the same to who has not been asked yet.
            link.requests.set_protocols(frozenset([KAD]))
            outcomes = await asyncio.gather(*(ask(node, PeerInfo(peer.peer_id), FIND) for _ in range(50)))
            assert all(isinstance(outcome, Reply) for outcome in outcomes)
            assert link.connection.stream_count == 4

    run(scenario())


def test_ping_streams_of_a_peer_over_all_its_connections(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd() as (node, honest, (greedy,)):
            links = [await met(greedy, node), await met(greedy, node)]
            kept = [await greedy.host.streams.open(link, [PING_PROTOCOL]) for link in links]
            for stream in kept:
                await stream.write(b"p" * PING_BYTES)
                assert await stream.read() == b"p" * PING_BYTES
            for link in links:
                assert await is_reset(await greedy.host.streams.open(link, [PING_PROTOCOL]))
            link_of_honest = honest.host.link_to(node.peer_id)
            assert link_of_honest is not None
            stream = await honest.host.streams.open(link_of_honest, [PING_PROTOCOL])
            await stream.write(b"h" * PING_BYTES)
            assert await stream.read() == b"h" * PING_BYTES
            kept[0].close_write()
            assert await kept[0].read() == b""
            stream = await greedy.host.streams.open(links[1], [PING_PROTOCOL])
            await stream.write(b"q" * PING_BYTES)
            assert await stream.read() == b"q" * PING_BYTES

    run(scenario())


# -- memory of a connection


def test_requests_that_never_end_are_held_up_to_a_bound(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(max_held_bytes=200_000) as (node, _, (greedy,)):
            link = await met(greedy, node)
            half = b"\x80\x80\x04" + b"x" * 60_000  # of 64 KiB
            streams = [await greedy.host.streams.open(link, [KAD]) for _ in range(10)]
            ends = [asyncio.ensure_future(is_reset(stream)) for stream in streams]
            for stream in streams[:3]:
                await stream.write(half)
            for stream in streams[3:]:
                await stream.write(half)
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await until(lambda: sum(end.done() for end in ends) == 7)
            assert not any(end.done() for end in ends[:3])
            # What was held for those is free again.
            streams[0].reset()
            stream = await greedy.host.streams.open(link, [KAD])
            await stream.write(half)
            await stream.write(b"x" * (64 * 1024 - 60_000))  # whole now, and no Kad message
            assert await is_reset(stream)
            for end in ends[:3]:
                end.cancel()

    run(scenario())


def test_replies_that_nobody_reads_are_held_up_to_a_bound(run: Run[None]) -> None:
    async def scenario() -> None:
        bound = 60_000
        async with crowd(max_blocked_bytes=bound) as (node, _, (greedy,)):
            reply = b"y" * 16_000
            frame_size = len(frame(reply))
            node.host.serve(DEAF, lambda peer, body, now: reply, 100)
            link = await met(greedy, node)
            there = node.host.link_to(greedy.peer_id)
            assert there is not None
            streams = [await greedy.host.streams.open(link, [DEAF]) for _ in range(8)]
            count = 150
            for stream in streams:  # 19 MB of replies, for which no window is given
                await stream.write(frame(b"more") * count)
            await until(lambda: there.connection.unsent_bytes > bound)
            for _ in range(500):
                await asyncio.sleep(0)
                assert (
                    there.connection.unsent_bytes <= bound + frame_size + ConnectionConfig().max_unsent_bytes
                )
            # Those who waited go on as soon as there is room.
            sizes = await asyncio.gather(*(amount(stream, count * frame_size) for stream in streams))
            assert sizes == [count * frame_size] * len(streams)
            assert there.is_open

    run(scenario())


def test_more_replies_than_a_turn_writes_follow_at_once(run: Run[None]) -> None:
    """Not with the next timer of the connection, which is 10 s away: the deadline here comes before it."""

    async def scenario() -> None:
        async with crowd() as (node, _, (eager,)):
            reply = b"y" * 1500
            node.host.serve(DEAF, lambda peer, body, now: reply, 100)
            link = await met(eager, node)
            streams = [await eager.host.streams.open(link, [DEAF]) for _ in range(20)]
            for _ in range(4):
                for stream in streams:
                    await stream.write(frame(b"more") * 200)
                whole = 200 * len(frame(reply))
                async with asyncio.timeout(5):
                    await asyncio.gather(*(amount(stream, whole) for stream in streams))

    run(scenario())


def test_bytes_that_a_program_does_not_read_are_held_up_to_a_bound(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(max_unread_bytes=500_000) as (node, _, (greedy,)):
            node.host.streams.serve(DEAF, deaf)
            link = await met(greedy, node)
            streams = [await greedy.host.streams.open(link, [DEAF]) for _ in range(6)]
            ends = [asyncio.ensure_future(is_reset(stream)) for stream in streams]
            for stream in streams:
                await stream.write(b"z" * 200_000)
            await until(lambda: sum(end.done() for end in ends) == 4)
            assert not any(end.done() for end in ends[:2])
            for end in ends[:2]:
                end.cancel()

    run(scenario())


# -- time


@pytest.mark.parametrize("floods", [1, 3])
def test_who_sends_much_at_once_has_one_turn_after_the_other(
    run: Run[None], floods: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one go, 40,000 requests would keep everybody else waiting until the last of them is handled.

    Turns end by what they have processed here, as on a machine that is fast enough, and not by the clock.
    """
    monkeypatch.setattr("fastmarket.net.transports.tcp.link.MAX_TURN_S", inf)

    async def scenario() -> None:
        async with crowd(floods) as (node, honest, guests_there):
            loop, turn = asyncio.get_running_loop(), 0
            size, count, handled = 40, 6000, Counter[int]()

            def tick() -> None:
                nonlocal turn
                turn += 1
                if handled.total() < floods * count:
                    loop.call_soon(tick)

            def handle(peer: RemotePeer, body: bytes, now: float) -> bytes:
                handled[turn] += 1
                return b""

            node.host.serve(DEAF, handle, 100)
            tick()
            for guest in guests_there:
                link = await met(guest, node)
                stream_id = link.connection.open_stream([DEAF], guest.now(), lazy=True)
                link.connection.send(stream_id, frame(b"x" * size) * count, guest.now())
                link.wake()
            await until(lambda: bool(handled))
            assert isinstance(await ask(honest, seed(node), FIND), Reply)
            await until(lambda: handled.total() == floods * count)
            # And one more: the rest of what came first and a slice of what came since are one step.
            slices = 1 + MAX_WRITES_A_TURN + 1
            assert max(handled.values()) <= floods * slices * SLICE_BYTES / size

    run(scenario())


# -- memory of all connections together


class Ears:
    """Connections that ask for large answers and read none; the kernel's buffers are made small."""

    def __init__(self, node: DhtNode, guest: DhtNode, protocol: str) -> None:
        self.node = node
        self.guest = guest
        self.protocol = protocol
        self.links: list[Link] = []

    async def ask(self, connections: int, streams: int, requests: int) -> None:
        for number in range(connections):
            address = f"127.0.1.{number % 200 + 1}"
            link = await come(self.guest, self.node, address)
            if link is None:
                return
            self.links.append(link)
            assert link._transport is not None
            link._transport.pause_reading()
            for _ in range(streams):
                stream_id = link.connection.open_stream([self.protocol], self.guest.now(), lazy=True)
                link.connection.send(stream_id, frame(b"more") * requests, self.guest.now())
            link.wake()


@asynccontextmanager
async def many_armed() -> AsyncIterator[DhtNode]:
    """A guest that opens as many connections as it is let."""
    host = replace(HostConfig(), max_connections_per_peer=200)
    guest = DhtNode(identity(900), NodeConfig(server_mode=False, host=host))
    try:
        yield guest
    finally:
        await guest.close()


def accounted(node: DhtNode) -> int:
    return node.host._endpoint.scope.held


@pytest.mark.parametrize("streams", [1, 30])
def test_peers_that_ask_and_do_not_read_hold_no_more_together_than_the_budget(
    run: Run[None], streams: int
) -> None:
    async def scenario() -> None:
        budget, reply = 3 << 20, b"y" * 190_000
        bounds = {"peer_budget_bytes": budget, "max_connections_per_peer": 100}
        async with crowd(1, **bounds) as (node, _, (honest,)), many_armed() as deaf_one:
            node.host.serve(DEAF, lambda peer, body, now: reply, 100)
            ears = Ears(node, deaf_one, DEAF)
            asking = asyncio.ensure_future(ears.ask(30, streams, 20))
            highest, answered = 0, 0
            while not asking.done() or node.host.links.dropped_count == 0:
                outcome = await ask(honest, seed(node), Choice(DEAF, b"more"))
                assert isinstance(outcome, Reply)
                assert outcome.payload == reply
                answered += 1
                highest = max(highest, accounted(node))
            await asking
            assert highest <= budget + (1 << 20), "what one turn of one connection adds"
            assert answered > 0
            assert honest.host.link_to(node.peer_id) is not None
            for link in ears.links:
                link.abort()
            await until(lambda: node.host.connection_count == 2)
            assert accounted(node) < 64 << 10

    run(scenario())


def test_requests_half_sent_on_many_connections_count_for_the_budget(run: Run[None]) -> None:
    async def scenario() -> None:
        bounds = {"peer_budget_bytes": (budget := 1 << 20), "max_connections_per_peer": 100}
        async with crowd(1, **bounds) as (node, honest, _), many_armed() as greedy:
            half = b"\x80\x80\x04" + b"x" * 60_000  # of 64 KiB
            links = []
            while node.host.links.dropped_count == 0:
                link = await come(greedy, node, ELSEWHERE)
                assert link is not None
                links.append(link)
                for _ in range(3):
                    stream_id = link.connection.open_stream([KAD], greedy.now(), lazy=True)
                    link.connection.send(stream_id, half, greedy.now())
                link.wake()
                assert isinstance(await ask(honest, seed(node), FIND), Reply)
                assert accounted(node) <= budget + 3 * len(half)
            assert len(links) > 3
            for link in links:
                link.abort()

    run(scenario())


def test_replies_half_sent_count_for_the_budget(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd() as (node, _, (peer,)):

            async def half(stream: Stream) -> None:
                await stream.write(frame(b"x" * 100_000)[:-1])
                await asyncio.Event().wait()

            peer.host.streams.serve(DEAF, half)
            await met(peer, node)
            asked = [
                asyncio.ensure_future(ask(node, PeerInfo(peer.peer_id), Choice(DEAF, b"more")))
                for _ in range(3)
            ]
            link = node.host.link_to(peer.peer_id)
            assert link is not None
            await until(lambda: link.requests.held_bytes > 290_000)
            assert accounted(node) > 290_000
            link.abort()
            await asyncio.gather(*asked)
            await until(lambda: accounted(node) < 64 << 10)

    run(scenario())


# -- what is stored


def test_who_fills_the_store_keeps_no_holder_out(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), offers=OfferConfig(max_offers=256))
        async with nodes(1, config) as (node,), guests(2) as (greedy, honest):

            def offer(holder: int, name: str) -> OfferTerms:
                content = b"\x12\x20" + sha256(f"{holder} {name}".encode()).digest()
                return OfferTerms(content, b"u", "", FileMetadata("192.0.2.1", 80, 5))

            async def store(guest: DhtNode, holder: int, count: int) -> tuple[Ack, ...]:
                signings = [Signing(offer(holder, f"{number}")) for number in range(count)]
                signed = sign_offers(identity(holder), signings, guest.now())[0].signed
                assert isinstance(signed, SignedBatch)
                outcome = await ask(guest, seed(node), Choice(OFFER, encode_store((), [signed.data])))
                assert isinstance(outcome, Reply)
                return decode_store_reply(outcome.payload).acks

            for holder in range(2000, 2012):
                await store(greedy, holder, 64)
            assert set(await store(honest, 3000, 20)) == {Ack.STORED}
            for holder in range(2012, 2024):
                await store(greedy, holder, 64)
            held = sum(one.provider == identity(3000).peer_id for one in node.offers.store)
            assert held == 20
            assert len(node.offers.store) <= 256

    run(scenario())


# -- sizes


@pytest.mark.parametrize(
    ("protocol", "limit"),
    [
        (KAD, NodeConfig().kad.max_request_bytes),
        (NodeConfig().offers.protocol, NodeConfig().offers.max_message_bytes),
    ],
)
def test_a_message_too_long(run: Run[None], protocol: str, limit: int) -> None:
    async def scenario() -> None:
        async with crowd() as (node, _, (peer,)):
            link = await met(peer, node)
            stream = await peer.host.streams.open(link, [protocol])
            await stream.write(frame(b"x" * (limit + 1))[:5])  # its length is enough
            assert await is_reset(stream)
            assert link.is_open

    run(scenario())


def test_a_reply_too_long(run: Run[None]) -> None:
    async def scenario() -> None:
        async with crowd(max_reply_bytes=10_000) as (node, _, (peer,)):
            peer.host.serve(KAD, lambda peer, body, now: b"x" * 10_001, 100)
            await met(peer, node)
            outcome = await ask(node, PeerInfo(peer.peer_id), FIND)
            assert isinstance(outcome, Failed)
            assert outcome.kind is FailureKind.PEER_FAULT

    run(scenario())


def test_an_identify_message_too_long(run: Run[None]) -> None:
    def endless(peer: RemotePeer) -> bytes:
        return frame(b"x" * 100_000)

    async def scenario() -> None:
        async with crowd() as (node, honest, (peer,)):
            peer.host._protocols[IDENTIFY_PROTOCOL] = IdentifyResponder.factory(endless)
            link = await met(peer, node)
            assert link.identified is not None  # what we say of ourselves
            there = node.host.link_to(peer.peer_id)
            assert there is not None
            await until(lambda: not there.is_busy)
            assert there.identified is None
            assert there.is_open
            beside = node.host.link_to(honest.peer_id)
            assert beside is not None
            assert beside.identified is not None

    run(scenario())


@pytest.mark.parametrize(("size", "accepted"), [(0, False), (1, True), (80, True), (81, False)])
def test_keys_of_providers(run: Run[None], size: int, accepted: bool) -> None:
    async def scenario() -> None:
        async with crowd() as (node, honest, (peer,)):
            link = await met(peer, node)
            key = b"k" * size
            me = PeerInfo(peer.peer_id, node.host.listen_addrs)
            stream = await peer.host.streams.open(link, [KAD])
            await stream.write(
                frame(encode_request(Kind.ADD_PROVIDER, key) + encode_peer(Field.PROVIDER_PEERS, me, 700))
            )
            stream.close_write()
            assert await is_reset(stream) is not accepted
            if accepted:
                found = await honest.find_providers(key, deadline_s=5.0)
                assert [provider.peer_id for provider in found] == [peer.peer_id]

    run(scenario())
