"""Real nodes test each other's addresses on loopback, whose addresses count as public here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fastmarket.config import NodeConfig
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import ip_of
from fastmarket.formats.varint import FrameDecoder
from fastmarket.kad.engine import Mode
from fastmarket.libp2p.autonat import server
from fastmarket.libp2p.autonat.client import DialOutcome
from fastmarket.libp2p.autonat.messages import (
    DIAL_BACK_PROTOCOL,
    DIAL_REQUEST_PROTOCOL,
    MIN_DATA_BYTES,
    DataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_frame,
    decode,
    request_frame,
    response_frame,
)
from fastmarket.libp2p.autonat.reachability import CONFIRMATIONS, Reachability
from fastmarket.net import autonat
from fastmarket.net.autonat import Autonat
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.streams import Stream
from tests.conftest import Run
from tests.net.loopback import LOOPBACK, nodes, port_of, seed, told, until

CONFIG = NodeConfig()
ENOUGH = 2 * CONFIRMATIONS  # a second round of tests does not wait for the servers of the first one


def is_loopback(addr: Multiaddr) -> bool:
    ip = ip_of(addr)
    return ip is not None and ip.is_loopback


@dataclass
class Checked:
    """A node, and its part that tests."""

    dht: DhtNode
    nat: Autonat

    async def meet(self, *others: Checked) -> None:
        for other in others:
            await self.dht.dial(seed(other.dht))


@asynccontextmanager
async def with_autonat(
    count: int,
    is_public: Callable[[Multiaddr], bool] = is_loopback,
    ours: Callable[[Multiaddr], bool] = is_loopback,
) -> AsyncIterator[list[Checked]]:
    """The first one tests what is public to `ours`."""
    async with nodes(count) as made:
        found = []
        for number, dht in enumerate(made):
            nat = Autonat(dht.host, CONFIG, is_public if number else ours)
            nat.on_changed.append(lambda dht=dht, nat=nat: dht.set_reachable(nat.is_reachable))  # type: ignore[misc]
            nat.start()
            found.append(Checked(dht, nat))
        try:
            yield found
        finally:
            for one in found:
                await one.nat.stop()


def test_an_address_that_four_servers_reach_is_reachable(run: Run[None]) -> None:
    async def scenario() -> None:
        async with with_autonat(CONFIRMATIONS + 1) as (ours, *servers):
            await ours.meet(*servers)
            await until(lambda: ours.nat.reachability is Reachability.REACHABLE)
            assert ours.nat.outcomes == {DialOutcome.REACHED: CONFIRMATIONS}
            assert ours.dht.announced_addrs == ours.dht.listen_addrs
            assert ours.nat.trouble() == ""
            for one in servers:
                assert {DIAL_REQUEST_PROTOCOL, DIAL_BACK_PROTOCOL} <= set(told(ours.dht, one.dht).protocols)
                assert one.nat.server.counts.reached == 1
                # The connection that dialed back is not ours to keep, nor the peer's.
                assert len(one.dht.host.links.by_peer[ours.dht.peer_id]) == 1
            await until(lambda: ours.dht.host.connection_count == len(servers))

    run(scenario())


def test_one_that_is_not_reached_is_told_to_nobody_and_its_node_is_a_client(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    """And what changes is seen at the next look: here, because the machine has another address now."""

    async def scenario() -> None:
        mapped: list[Multiaddr] = []
        async with with_autonat(ENOUGH + 1, ours=lambda addr: addr in mapped) as (ours, *servers):
            closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            mapped.append(Multiaddr.from_endpoint("127.0.0.1", closed.sockets[0].getsockname()[1]))
            closed.close()
            await ours.meet(*servers)
            (listening,) = ours.dht.host.listen_addrs
            ours.dht.host.identifier.addresses.map(listening, mapped[0])
            assert mapped[0] not in ours.dht.host.identifier.addresses.announced  # being tested
            await until(lambda: ours.nat.reachability is Reachability.UNREACHABLE)
            assert ours.dht.engine.mode is Mode.CLIENT
            assert str(port_of(ours.dht)) in ours.nat.trouble()
            for one in servers:
                await until(lambda one=one: CONFIG.kad.protocol not in told(one.dht, ours.dht).protocols)  # type: ignore[misc]
                assert told(one.dht, ours.dht).listen_addrs == (listening,)
                assert all(peer.peer.peer_id != ours.dht.peer_id for peer in one.dht.peers())
            assert mapped[0] not in ours.dht.engine.local.addrs

            forward = await asyncio.start_server(
                lambda *ends: _forward(ours.dht, *ends), "127.0.0.1", _port(mapped[0])
            )
            await ours.dht.listen(LOOPBACK)
            await until(lambda: ours.nat.reachability is Reachability.REACHABLE)
            assert ours.dht.engine.mode is Mode.SERVER
            for one in servers:
                await until(lambda one=one: CONFIG.kad.protocol in told(one.dht, ours.dht).protocols)  # type: ignore[misc]
                await until(lambda one=one: mapped[0] in told(one.dht, ours.dht).listen_addrs)  # type: ignore[misc]
            assert ours.nat.trouble() == ""
            forward.close()

    with caplog.at_level("INFO", "fastmarket.net.autonat"):
        run(scenario())
    lines = [
        record.getMessage() for record in caplog.records if "connect to this node" in record.getMessage()
    ]
    assert len(lines) == 2
    assert lines[0].startswith("nobody outside can connect to this node")
    assert "forward TCP port" in lines[0]
    assert lines[1].startswith("others can connect to this node at /ip4/127.0.0.1/tcp/")


def _port(addr: Multiaddr) -> int:
    endpoint = addr.host_port()
    assert endpoint is not None
    return endpoint.port


async def _forward(dht: DhtNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port_of(dht))

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(4096):
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()

    await asyncio.gather(copy(reader, back), copy(there, writer))


def test_private_addresses_are_neither_sent_nor_dialed(run: Run[None]) -> None:
    async def scenario() -> None:
        public = autonat.is_public_ip
        async with with_autonat(CONFIRMATIONS + 1, public) as (ours, *servers):
            await ours.meet(*servers)
            await until(lambda: ours.nat.outcomes[DialOutcome.REFUSED] == CONFIRMATIONS)
            assert ours.nat.reachability is Reachability.UNKNOWN
            assert all(one.nat.server.counts.refused == 1 for one in servers)
            assert all(one.nat.tracker.states() == {} for one in servers)
            assert ours.dht.engine.mode is Mode.SERVER

    run(scenario())


async def _served_by(ours: Checked, other: DhtNode, answer: Callable[[Stream, DialRequest], object]) -> None:
    """`other` answers requests by that, until ours has an outcome of one."""

    async def serve(stream: Stream) -> None:
        frames = FrameDecoder(8192)
        while not (bodies := frames.feed(await stream.read())):
            pass
        request = decode(bodies[0])
        assert isinstance(request, DialRequest)
        out = answer(stream, request)
        if isinstance(out, bytes):
            await stream.write(out)
        await stream.read()

    other.host.streams.serve(DIAL_REQUEST_PROTOCOL, serve)
    await ours.dht.dial(seed(other))
    await until(lambda: bool(ours.nat.outcomes))


def test_a_server_that_never_dialed_is_not_believed(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autonat, "NONCE_S", 0.05)

    async def scenario() -> None:
        async with with_autonat(1) as (ours,), nodes(1, first=100) as (liar,):
            told_ok = response_frame(DialResponse(ResponseStatus.OK, 0, DialStatus.OK))
            await _served_by(ours, liar, lambda stream, request: told_ok)
            assert ours.nat.outcomes == {DialOutcome.NOTHING: 1}
            assert set(ours.nat.tracker.states().values()) == {Reachability.UNKNOWN}

    run(scenario())


def test_a_server_that_says_nothing_is_given_up(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autonat, "ANSWER_S", 0.05)

    async def scenario() -> None:
        async with with_autonat(1) as (ours,), nodes(1, first=100) as (silent,):
            await _served_by(ours, silent, lambda stream, request: None)
            assert ours.nat.outcomes == {DialOutcome.NOTHING: 1}

    run(scenario())


def test_an_asker_that_says_nothing_frees_its_place(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autonat, "ASKING_S", 0.05)

    async def scenario() -> None:
        async with with_autonat(1) as (ours,), nodes(1, first=100) as (other,):
            link = await other.host.connect(seed(ours.dht))
            for _ in range(2 * server.MAX_DIALS_PER_PEER):
                stream = await other.host.streams.open(link, [DIAL_REQUEST_PROTOCOL])
                with pytest.raises(Exception, match="reset"):
                    await stream.read()
            assert ours.nat.server.counts.requests == 2 * server.MAX_DIALS_PER_PEER
            assert ours.nat.server.counts.rejected == 0

    run(scenario())


def test_another_host_is_dialed_only_for_its_price(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_WAIT_S", 0.0)

    async def scenario() -> None:
        dialed: list[str] = []

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialed.append(writer.get_extra_info("peername")[1])
            writer.close()

        victim = await asyncio.start_server(take, "127.0.0.2", 0)
        addr = Multiaddr.from_endpoint("127.0.0.2", victim.sockets[0].getsockname()[1])
        async with with_autonat(1) as (ours,), nodes(1, first=100) as (asker,):
            link = await asker.host.connect(seed(ours.dht))
            stream = await asker.host.streams.open(link, [DIAL_REQUEST_PROTOCOL])
            frames = FrameDecoder(8192)
            await stream.write(request_frame([addr], 7))
            (body,) = frames.feed(await stream.read())
            price = decode(body)
            assert isinstance(price, DataRequest)
            assert price.byte_count >= MIN_DATA_BYTES
            for _ in range(price.byte_count // 4096):
                await stream.write(data_frame(4096))
            assert dialed == []
            await stream.write(data_frame(4096))
            (body,) = frames.feed(await stream.read())
            assert decode(body) == DialResponse(ResponseStatus.OK, 0, DialStatus.NO_CONNECTION)
            assert len(dialed) == 1
            assert dialed[0] != port_of(ours.dht)
        victim.close()

    run(scenario())
