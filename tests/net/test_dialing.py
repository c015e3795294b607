"""Addresses and names of every kind, dialed over real sockets; /dnsaddr by a real DNS server."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from fastmarket.config import HostConfig, NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.requests import Failed, RequestResult
from fastmarket.net.dht_node import DhtNode
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed
from tests.net.name_server import NameServer, name_server

NAME = Multiaddr.from_text("/dnsaddr/market.test")
STRANGER = identity(99).peer_id


def asking(server: NameServer, **host: object) -> NodeConfig:
    """A node that asks that DNS server."""
    defaults = replace(HostConfig(), listen=(), nameservers=(server.address,))
    return NodeConfig(host=replace(defaults, **host))  # type: ignore[arg-type]


def entry(node: DhtNode, peer: PeerId | None = None) -> str:
    return f"dnsaddr={node.host.listen_addrs[0].with_peer(peer or node.peer_id)}"


def test_a_dnsaddr_leads_to_the_peer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,), name_server({"_dnsaddr.market.test": []}) as server:
            server.texts["_dnsaddr.market.test"] = [
                "v=spf1 -all",
                "dnsaddr=nonsense",
                "dnsaddr=/ip4/127.0.0.1/udp/1/quic-v1",
                f"dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}",  # another peer of the same network
                entry(a),
            ]
            b = DhtNode(identity(60), asking(server))
            joined = await b.bootstrap([PeerInfo(a.peer_id, (NAME,))], DEADLINE_S)
            assert joined.peer == a.peer_id
            assert server.asked == ["_dnsaddr.market.test"]
            # What the name led to is remembered, the stranger's address was not tried.
            assert a.host.listen_addrs[0] in b.host.identifier.store.addrs(a.peer_id)
            await b.close()

    run(scenario())


def test_one_name_may_lead_to_others(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,), name_server({}) as server:
            server.texts["_dnsaddr.market.test"] = [
                f"dnsaddr=/dnsaddr/{name}.market.test/p2p/{peer}"
                for name, peer in (("one", STRANGER), ("two", a.peer_id))
            ]
            port = seed(a).addrs[0].host_port()
            assert port is not None
            server.texts["_dnsaddr.two.market.test"] = [f"dnsaddr=/dns4/localhost/tcp/{port.port}"]
            b = DhtNode(identity(60), asking(server))
            assert await b.dial(PeerInfo(a.peer_id, (NAME,))) == a.peer_id
            assert server.asked == ["_dnsaddr.market.test", "_dnsaddr.two.market.test"]
            await b.close()

    run(scenario())


def test_names_that_lead_in_circles_end(run: Run[None]) -> None:
    async def scenario() -> None:
        async with name_server({"_dnsaddr.market.test": [f"dnsaddr={NAME}"]}) as server:
            b = DhtNode(identity(60), asking(server))
            with pytest.raises(DialFailed, match="leads to another too often"):
                await b.dial(PeerInfo(STRANGER, (NAME,)))
            assert len(server.asked) == 4
            await b.close()

    run(scenario())


def test_names_that_lead_to_ever_more_names_end(run: Run[None]) -> None:
    async def scenario() -> None:
        many = [f"dnsaddr=/dnsaddr/{n}.market.test" for n in range(60)]
        texts = {"_dnsaddr.market.test": many} | {f"_dnsaddr.{n}.market.test": many for n in range(60)}
        async with name_server(texts) as server:
            b = DhtNode(identity(60), asking(server, max_dial_lookups=10))
            with pytest.raises(DialFailed):
                await b.dial(PeerInfo(STRANGER, (NAME,)))
            assert 1 < len(server.asked) <= 2 * 10  # a long answer comes cut short and is asked for again
            await b.close()

    run(scenario())


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({}, "does not exist"),
        ({"_dnsaddr.market.test": []}, "does not contain an answer"),
        ({"_dnsaddr.market.test": ["dnsaddr=/ip4/1.2.3.4/udp/1/quic-v1"]}, "no name led to an address"),
        ({"_dnsaddr.market.test": ["hello"]}, "no TXT record names an address of that peer"),
        ({"_dnsaddr.market.test": [f"dnsaddr=/ip4/1.2.3.4/tcp/1/p2p/{STRANGER}"]}, "no TXT record names"),
    ],
)
def test_a_name_that_leads_nowhere_says_why(run: Run[None], texts: dict[str, list[str]], reason: str) -> None:
    async def scenario() -> None:
        async with name_server(texts) as server:
            b = DhtNode(identity(60), asking(server))
            with pytest.raises(DialFailed, match=reason):
                await b.dial(PeerInfo(identity(61).peer_id, (NAME,)))
            await b.close()

    run(scenario())


def test_a_host_without_an_address_says_why(run: Run[None]) -> None:
    async def scenario() -> None:
        b = DhtNode(identity(60), NodeConfig())
        addr = Multiaddr.from_text("/dns4/nobody.invalid/tcp/1")
        with pytest.raises(DialFailed, match=r"/dns4/nobody.invalid/tcp/1: \w+"):
            await b.dial(PeerInfo(STRANGER, (addr,)))
        await b.close()

    run(scenario())


def test_an_address_that_never_answers_holds_up_nobody(run: Run[None]) -> None:
    async def scenario() -> None:
        # Accepts by its backlog and never says a word: nothing but the stagger leads to the next address. The
        # deadline of the test is far below the time-out of an attempt.
        with socket.create_server(("127.0.0.1", 0)) as mute:
            async with nodes(1) as (a,):
                config = NodeConfig(host=replace(HostConfig(), dial_timeout_s=3600.0))
                b = DhtNode(identity(60), config)
                silent = Multiaddr.from_endpoint(*mute.getsockname())
                assert await b.dial(PeerInfo(a.peer_id, (silent, *a.host.listen_addrs))) == a.peer_id
                await b.close()

    run(scenario())


def test_more_dials_than_we_have_room_for_say_nothing_of_the_peer(run: Run[None]) -> None:
    class Told:
        """Notes of whom the host says that it cannot be reached."""

        def __init__(self) -> None:
            self.unreachable: list[PeerId] = []

        def peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None: ...

        def peer_disconnected(self, peer_id: PeerId, now: float) -> None: ...

        def peer_unreachable(self, peer_id: PeerId, now: float) -> None:
            self.unreachable.append(peer_id)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            config = NodeConfig(host=replace(HostConfig(), max_queued_dials=1, dial_timeout_s=3600.0))
            b, told, outcomes = DhtNode(identity(60), config), Told(), list[RequestResult]()
            b.host.observers.append(told)
            silent = Multiaddr.from_endpoint(*mute.getsockname())
            deadline = b.now() + 3600.0
            choices = (Choice("/test", b"?"),)
            b.host.request(PeerInfo(STRANGER, (silent,)), choices, deadline, lambda _: None)  # takes the room
            other = PeerInfo(identity(98).peer_id, (silent,))
            b.host.request(other, choices, deadline, outcomes.append)
            (outcome,) = outcomes
            assert isinstance(outcome, Failed)
            assert outcome.kind is FailureKind.BUSY
            with pytest.raises(DialFailed, match="too many dials"):
                await b.dial(other)
            assert told.unreachable == []
            await b.close()

    run(scenario())


def test_what_we_cannot_dial_takes_no_place_from_what_we_can(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            quic = [Multiaddr.from_text(f"/ip4/127.0.0.{n}/udp/1/quic-v1") for n in range(1, 40)]
            assert await b.dial(PeerInfo(a.peer_id, (*quic, *a.host.listen_addrs))) == a.peer_id
            with pytest.raises(DialFailed, match="no TCP address"):
                await b.dial(PeerInfo(STRANGER, tuple(quic)))

    run(scenario())


def test_a_peer_is_looked_for_at_no_more_places_than_allowed(run: Run[None]) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
            port = mute.getsockname()[1]
            config = NodeConfig(
                host=replace(HostConfig(), max_dial_addrs=3, dial_stagger_s=0.0, dial_timeout_s=0.2)
            )
            b = DhtNode(identity(60), config)
            addrs = tuple(Multiaddr.from_endpoint(f"127.0.0.{n}", port) for n in range(1, 20))
            with pytest.raises(DialFailed) as caught:
                await b.dial(PeerInfo(STRANGER, addrs))
            assert str(caught.value).count(f"/tcp/{port}") == 3
            await b.close()

    run(scenario())
