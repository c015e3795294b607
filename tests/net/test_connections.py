"""Which connections live: of two dialed at once, beyond the marks, and while something is under way."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace

import pytest

from fastmarket.config import HostConfig, NodeConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import frame
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.identify import IDENTIFY_PROTOCOL
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.requests import Failed, Reply
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.net.streams import Stream
from fastmarket.pb.libp2p.identify_pb2 import Identify
from tests.conftest import Run
from tests.net.guests import come, guests
from tests.net.loopback import DEADLINE_S, LOOPBACK, ask, identity, nodes, seed, until

FIND = Choice(NodeConfig().kad.protocol, encode_request(Kind.FIND_NODE, b"somewhere"))
ECHO = "/test/echo/1.0.0"
ROUNDS = 40
REQUESTS = 20


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)
    stream.close_write()


def by_id(one: DhtNode, other: DhtNode) -> tuple[DhtNode, DhtNode]:
    """The one with the smaller peer id first."""
    return (one, other) if one.peer_id.raw < other.peer_id.raw else (other, one)


def link_between(one: DhtNode, other: DhtNode) -> Link:
    link = one.host.link_to(other.peer_id)
    assert link is not None
    return link


async def both_know_one(one: DhtNode, other: DhtNode) -> None:
    await until(lambda: one.host.connection_count == other.host.connection_count == 1)
    smaller, larger = by_id(one, other)
    assert link_between(smaller, larger).role is Role.DIALER
    assert link_between(larger, smaller).role is Role.LISTENER


@pytest.mark.parametrize("first", range(0, 10, 2))
def test_of_two_dialed_at_once_one_is_kept_and_no_request_lost(run: Run[None], first: int) -> None:
    async def scenario() -> None:
        for number in range(first * 100, first * 100 + 2 * ROUNDS // 5, 2):
            a, b = (DhtNode(identity(number + n), NodeConfig()) for n in range(2))
            await a.listen(LOOPBACK)
            await b.listen(LOOPBACK)
            dialing = [
                asyncio.ensure_future(one.host.connect(seed(other))) for one, other in ((a, b), (b, a))
            ]
            outcomes = await asyncio.gather(
                *(ask(*pair, FIND) for _ in range(REQUESTS) for pair in ((a, seed(b)), (b, seed(a))))
            )
            links = await asyncio.gather(*dialing)
            assert [link.role for link in links] == [Role.DIALER, Role.DIALER]
            while a.host.connection_count + b.host.connection_count > 2:
                outcomes += await asyncio.gather(ask(a, seed(b), FIND), ask(b, seed(a), FIND))
            await both_know_one(a, b)
            outcomes += await asyncio.gather(ask(a, seed(b), FIND), ask(b, seed(a), FIND))
            assert all(isinstance(outcome, Reply) for outcome in outcomes), outcomes
            await a.close()
            await b.close()

    run(scenario())


def test_a_connection_not_kept_waits_for_its_last_stream(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as pair:
            smaller, larger = by_id(*pair)
            smaller.host.streams.serve(ECHO, echo)
            surplus = await larger.host.connect(seed(smaller))
            stream = await larger.host.streams.open(surplus, [ECHO])
            await smaller.host.dials.reach(seed(larger), given=True)
            await until(lambda: link_between(larger, smaller) is not surplus)
            for _ in range(100):  # requests go over the kept one; the stream goes on over the other
                assert isinstance(await ask(larger, seed(smaller), FIND), Reply)
                await stream.write(b"still here")
                assert await stream.read() == b"still here"
            assert smaller.host.connection_count == larger.host.connection_count == 2
            stream.close_write()
            assert await stream.read() == b""
            await both_know_one(smaller, larger)

    run(scenario())


def test_a_peer_that_comes_back_is_not_sent_to_its_dead_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(
            NodeConfig(),
            connection=replace(NodeConfig().connection, ping_timeout_s=0.2, keepalive_interval_s=60),
        )
        async with nodes(2, config) as pair:
            smaller, larger = by_id(*pair)
            dead = await smaller.host.connect(seed(larger))
            await until(lambda: larger.host.connection_count == 1)
            # The larger one vanishes without a word, and comes back on another port.
            silence(link_between(larger, smaller))
            again = DhtNode(larger.host.identity, config)
            await again.listen(LOOPBACK)
            await again.dial(seed(smaller))
            assert link_between(smaller, larger) is not dead
            assert isinstance(await ask(smaller, seed(again), FIND), Reply)
            await until(lambda: smaller.host.connection_count == 1)
            assert isinstance(await ask(again, seed(smaller), FIND), Reply)
            assert again.host.connection_count == 1
            await again.close()

    run(scenario())


def silence(link: Link) -> None:
    """Its end takes nothing in and says nothing any more."""
    assert link._transport is not None
    link._transport.pause_reading()
    link.pause_writing()


def test_who_comes_while_we_dial_in_vain_is_reached(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), host=HostConfig(dial_timeout_s=0.2))
        with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts by its backlog, and never says a word
            addr = Multiaddr.from_endpoint(*mute.getsockname())
            async with nodes(2, config) as (a, b):
                nowhere = PeerInfo(b.peer_id, (addr,))
                dialing = asyncio.ensure_future(a.host.connect(nowhere))
                asking = asyncio.ensure_future(ask(a, nowhere, FIND))
                await until(lambda: a.host.connection_count == 1)
                await b.host.connect(seed(a))
                # The request does not wait for the dial, nor the dial's failure count.
                assert isinstance(await asking, Reply)
                assert not dialing.done()
                assert (await dialing).role is Role.LISTENER

    run(scenario())


def marks(high: int, low: int) -> NodeConfig:
    host = HostConfig(
        high_connections=high,
        low_connections=low,
        connection_grace_s=0.0,
        trim_pause_s=0.0,
        idle_sweep_s=0.01,
    )
    return replace(NodeConfig(), host=host)


def test_past_the_high_mark_the_longest_unused_go(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1, marks(high=5, low=4)) as (a,), guests(6) as peers:
            a.host.streams.serve(ECHO, echo)
            peers[1].host.streams.serve(ECHO, echo)
            a.host.links.protected.add(peers[2].peer_id)
            links = [await come(peer, a) for peer in peers[:5]]
            assert None not in links
            assert links[0] is not None
            await until(lambda: len(a.host.peers) == 5)
            theirs = await peers[0].host.streams.open(links[0], [ECHO])
            ours = await a.host.streams.open(link_between(a, peers[1]), [ECHO])
            assert isinstance(await ask(peers[3], seed(a), FIND), Reply)
            await come(peers[5], a)
            # Two have to go: not those in use by either side, not the protected one, not the newest.
            await until(lambda: a.host.connection_count == 4)
            assert set(a.host.peers) == {peers[number].peer_id for number in (0, 1, 2, 5)}
            for stream in (theirs, ours):
                await stream.write(b"x")
                assert await stream.read() == b"x"

    run(scenario())


def test_neighbours_and_bootstrap_peers_stay(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4, marks(high=4, low=1)) as (a, b, c, d), guests(4) as peers:
            await a.bootstrap([seed(b)], DEADLINE_S)
            await c.bootstrap([seed(a)], DEADLINE_S)
            await d.dial(seed(a))
            await until(lambda: a.engine.table_size == 3)
            for peer in peers:
                await come(peer, a)
            await until(lambda: len(a.host.peers) == 3)
            assert set(a.host.peers) == {b.peer_id, c.peer_id, d.peer_id}

    run(scenario())


def test_a_flood_from_outside_leaves_room_for_dials(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), host=HostConfig(max_connections=4, max_inbound_connections=2))
        async with nodes(3, config) as (a, b, c), guests(4) as peers:
            came = [await come(peer, a) for peer in peers]
            assert [link is not None for link in came] == [True, True, False, False]
            await a.dial(seed(b))
            await a.dial(seed(c))
            assert a.host.connection_count == 4

    run(scenario())


def test_nothing_is_lost_when_a_peer_leaves(run: Run[None]) -> None:
    """Requests on their way when the good-bye comes are answered; later ones go over a new connection."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.dial(seed(a))
            await until(lambda: b.peer_id in a.host.peers)
            for _ in range(20):
                asking = [asyncio.ensure_future(ask(b, seed(a), FIND)) for _ in range(100)]
                await asyncio.sleep(0)
                link = a.host.link_to(b.peer_id)
                if link is not None:
                    link.leave(a.now())
                asking += [asyncio.ensure_future(ask(b, seed(a), FIND)) for _ in range(100)]
                outcomes = await asyncio.gather(*asking)
                assert all(isinstance(outcome, Reply) for outcome in outcomes), outcomes

    run(scenario())


def test_a_request_to_a_peer_that_left_with_its_handshake_has_an_outcome(run: Run[None]) -> None:
    endpoint = NoiseEndpoint.create(Endpoint.create(identity(2), os.urandom, {}))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(endpoint, Role.LISTENER, now=0.0)
        while not (message := connection.data_to_send()) or len(message) < 100:
            writer.write(message)
            connection.receive_data(await reader.read(65536), 0.0)
        writer.write(message)  # its half of the handshake, and the end
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        peer = PeerInfo(identity(2).peer_id, (Multiaddr.from_text(f"/ip4/127.0.0.1/tcp/{port}"),))
        async with nodes(1) as (node,):
            outcomes: list[object] = []
            for asked in range(1, 4):
                node.host.request(peer, (Choice("/test", b"?"),), node.now() + 3600, outcomes.append)
                await until(lambda asked=asked: len(outcomes) == asked)  # type: ignore[misc]
        assert all(isinstance(outcome, Failed) for outcome in outcomes)
        server.close()

    run(scenario())


def test_a_closed_connection_whose_peer_reads_nothing_is_ended(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,), guests(1) as (deaf,):
            node.host.serve("/test/long", lambda peer, body, now: b"y" * 200_000, 100)
            link = await come(deaf, node)
            assert link is not None
            streams = [await deaf.host.streams.open(link, ["/test/long"]) for _ in range(40)]
            there = node.host.link_to(deaf.peer_id)
            assert there is not None
            assert there._transport
            assert link._transport
            link._transport.pause_reading()
            transport = there._transport
            buffered = transport.get_write_buffer_size
            for stream in streams:
                await stream.write(frame(b"more"))
            await until(lambda: buffered() > 0)
            now = node.now()
            there.close(now)
            await until(lambda: not there.is_open)
            node.host.links.sweep(now)
            assert buffered()
            node.host.links.sweep(now + NodeConfig().host.leave_grace_s)
            await there.ended

    run(scenario())


def test_pings_keep_a_quiet_connection_and_end_a_dead_one(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(
            NodeConfig(),
            connection=replace(NodeConfig().connection, keepalive_interval_s=0.02, ping_timeout_s=0.5),
        )
        async with nodes(1, config) as (a,), guests(2) as (quiet, dead):
            await come(quiet, a)
            link = await come(dead, a)
            assert link is not None
            silence(link)
            liveness = link_between(a, quiet).connection.liveness
            asked = liveness.value
            await until(lambda: dead.peer_id not in a.host.peers)
            assert liveness.value > asked
            assert quiet.peer_id in a.host.peers
            await until(lambda: liveness.asked_at is None)  # answered

    run(scenario())


def test_a_peer_that_ignores_our_good_bye_is_closed(run: Run[None]) -> None:
    async def scenario() -> None:
        host = HostConfig(idle_timeout_s=0.0, idle_sweep_s=0.01, leave_grace_s=0.05)
        connection = replace(NodeConfig().connection, request_idle_s=0.01)
        async with (
            nodes(1, replace(NodeConfig(), host=host, connection=connection)) as (a,),
            guests(1) as (g,),
        ):
            link = await come(g, a)
            assert link is not None
            silence(link)
            await until(lambda: a.host.connection_count == 0)

    run(scenario())


def test_a_peer_that_is_known_to_ignore_it_is_not_waited_for(run: Run[None]) -> None:
    """js-libp2p goes on choosing a connection on which we have said good-bye; so it is closed at once."""

    async def scenario() -> None:
        host = HostConfig(idle_timeout_s=0.0, idle_sweep_s=0.01, leave_grace_s=3600.0)
        connection = replace(NodeConfig().connection, request_idle_s=0.01)
        async with (
            nodes(1, replace(NodeConfig(), host=host, connection=connection)) as (a,),
            guests(1) as (g,),
        ):

            async def identify(stream: Stream) -> None:
                await stream.write(frame(Identify(agentVersion="js-libp2p/3.3.11").SerializeToString()))
                stream.close_write()

            g.host.streams.serve(IDENTIFY_PROTOCOL, identify)
            link = await come(g, a)
            assert link is not None
            known = a.host.link_to(g.peer_id)
            assert known is not None
            await asyncio.shield(known.identity_known.wait())
            silence(link)
            await until(lambda: a.host.connection_count == 0)

    run(scenario())
