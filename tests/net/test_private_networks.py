"""Who is dialed on a stranger's word: nobody in a private network that this node is not in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fastmarket.config import NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import inner_network
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.peerstore import AddrSource
from fastmarket.libp2p.requests import Failed
from fastmarket.net.addresses import OwnAddresses
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.twins import Twins
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, ask, has_ipv6, identity, seed
from tests.net.name_server import name_server

NOW = 1_700_000_000.0
PUBLIC = "/ip4/5.5.5.5/tcp/4001"
STRANGER = identity(99).peer_id
PRIVATE = [
    *("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7", "100.64.3.3", "169.254.9.9"),
    *("fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "192.0.2.1", "198.18.0.1", "2001:db8::1"),
    # An IPv6 address that stands for an IPv4 one: systems dial that.
    *("::ffff:10.1.2.3", "::ffff:192.168.7.7", "64:ff9b::10.1.2.3", "::ffff:127.0.0.1"),
]
OUTSIDE = ["5.5.5.6", "1.1.1.1", "2a00::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "172.15.0.1", "100.63.0.1"]


def own(
    *listening: tuple[str, int], announce: tuple[str, ...] = (), has: tuple[str, ...] = ()
) -> OwnAddresses:
    addresses = OwnAddresses(STRANGER, announce, interfaces=lambda: ("127.0.0.1", "::1", *has))
    for host, port in listening:
        addresses.listen_on(host, port, NOW)
    return addresses


@pytest.mark.parametrize("host", PRIVATE)
def test_a_public_node_is_not_sent_into_networks_it_is_not_in(host: str) -> None:
    for addresses in (
        own(("5.5.5.5", 1)),
        own(("0.0.0.0", 1), has=("5.5.5.5",)),
        own(("127.0.0.1", 1), announce=(PUBLIC,)) if "127" not in host else own(announce=(PUBLIC,)),
        own(("0.0.0.0", 1), announce=("/dns4/node.example/tcp/1",)),
        own(("::", 1), has=("2a00::5",)),
    ):
        assert not addresses.may_dial(host)


@pytest.mark.parametrize("host", [*PRIVATE, *OUTSIDE, "127.0.0.1", "::1"])
def test_a_node_without_a_public_address_dials_what_it_is_told(host: str) -> None:
    for addresses in (own(), own(("127.0.0.1", 1)), own(("0.0.0.0", 1), has=("192.168.1.5", "fd00::5"))):
        assert addresses.may_dial(host)


@pytest.mark.parametrize("host", OUTSIDE)
def test_public_addresses_are_for_everybody(host: str) -> None:
    assert own(("5.5.5.5", 1)).may_dial(host)
    assert inner_network(ip_address(host)) is None


@pytest.mark.parametrize(
    ("mine", "same", "other"),
    [
        ("10.9.9.9", "10.1.2.3", "192.168.1.1"),
        ("172.17.0.1", "172.31.0.5", "10.1.2.3"),
        ("192.168.1.5", "192.168.77.5", "172.16.0.1"),
        ("100.64.1.1", "100.127.0.1", "10.1.2.3"),
        ("fd00::5", "fd99::1", "10.1.2.3"),
        ("10.9.9.9", "::ffff:10.1.2.3", "::ffff:192.168.1.1"),
    ],
)
def test_a_public_node_in_a_network_dials_there(mine: str, same: str, other: str) -> None:
    wild = "::" if ":" in mine else "0.0.0.0"
    for addresses in (
        own((mine, 1), announce=(PUBLIC,)),
        own((wild, 1), announce=(PUBLIC,), has=(mine,)),
        own(("5.5.5.5", 1), (mine, 1)),
    ):
        assert addresses.may_dial(same)
        assert not addresses.may_dial(other)


def test_loopback_counts_where_it_was_asked_for() -> None:
    everything = own(("0.0.0.0", 1), has=("5.5.5.5",))
    assert not everything.may_dial("127.0.0.1")
    assert own(("127.0.0.1", 1), announce=(PUBLIC,)).may_dial("127.0.0.1")
    assert not own(("127.0.0.1", 1), announce=(PUBLIC,)).may_dial("::1")


def test_it_follows_what_peers_and_the_system_say() -> None:
    has = ["192.168.1.5"]
    addresses = OwnAddresses(STRANGER, interfaces=lambda: has)
    addresses.listen_on("0.0.0.0", 1, NOW)
    assert addresses.may_dial("10.1.2.3")
    has.append("5.5.5.5")
    addresses.refresh(NOW)
    assert not addresses.may_dial("10.1.2.3")
    has.append("10.0.0.1")
    addresses.refresh(NOW)
    assert addresses.may_dial("10.1.2.3")


# -- real nodes: the public one announces an address and listens on 127.0.0.1; the network it is not in is ::1


class Knocks:
    """A listener on ::1 that counts who comes."""

    def __init__(self) -> None:
        self.count = 0
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Knocks]:
        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.count += 1
            writer.close()

        server = await asyncio.start_server(came, "::1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()


@asynccontextmanager
async def node_of(
    number: int, *announce: str, nameservers: tuple[tuple[str, int], ...] = ()
) -> AsyncIterator[DhtNode]:
    config = NodeConfig()
    host = replace(config.host, listen=(), announce=announce, nameservers=nameservers)
    node = DhtNode(identity(number), replace(config, host=host))
    await node.listen(LOOPBACK)
    yield node
    await node.close()


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


@ipv6
@pytest.mark.parametrize("form", ["/ip6/::1/tcp/{}", "/dns6/::1/tcp/{}", "/dnsaddr/market.test"])
def test_a_stranger_sends_a_public_node_nowhere(run: Run[None], form: str) -> None:
    """Not by an address, not by a name that stands for one, and not by a name of names."""

    async def scenario() -> None:
        async with Knocks().open() as knocks, name_server({}) as server:
            entry = f"dnsaddr=/ip6/::1/tcp/{knocks.port}/p2p/{STRANGER}"
            server.texts["_dnsaddr.market.test"] = [entry]
            named = PeerInfo(STRANGER, (Multiaddr.from_text(form.format(knocks.port)),))
            async with (
                node_of(1, PUBLIC, nameservers=(server.address,)) as public,
                node_of(2, nameservers=(server.address,)) as inside,
            ):
                outcome = await ask(public, named)
                assert isinstance(outcome, Failed)
                assert outcome.kind is FailureKind.UNREACHABLE
                assert knocks.count == 0
                await ask(inside, named)
                assert knocks.count == 1
                # Our own operator's word is enough: of a program that dials, and of the bootstrap list.
                with pytest.raises(DialFailed):
                    await public.dial(named)
                assert knocks.count == 2

    run(scenario())


@ipv6
def test_nor_where_others_say_that_they_know_it_itself(run: Run[None]) -> None:
    """Who looks whether another node has its key looks at addresses that strangers name."""

    async def scenario() -> None:
        async with Knocks().open() as knocks, node_of(1, PUBLIC) as public, node_of(2) as inside:
            for node, count in ((public, 0), (inside, 1)):
                us = PeerInfo(node.peer_id, (Multiaddr.from_text(f"/ip6/::1/tcp/{knocks.port}"),))
                twins = Twins(node.host, node.engine)
                twins.on_named(us)
                assert twins._look is not None
                await asyncio.wait_for(twins._look, DEADLINE_S)
                assert knocks.count == count

    run(scenario())


@ipv6
def test_nor_does_whoever_asks_for_a_peer_vouch_for_what_others_say_of_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with Knocks().open() as knocks, node_of(1, PUBLIC) as public, node_of(2) as inside:
            addr = Multiaddr.from_text(f"/ip6/::1/tcp/{knocks.port}")
            for node, count in ((public, 0), (inside, 1)):
                node.host.identifier.store.add(STRANGER, [addr], AddrSource.HINT, node.now())
                stream = node.public.stream_peer(STRANGER, deadline_s=DEADLINE_S)
                assert [found async for found in stream] == []
                assert knocks.count == count

    run(scenario())


@ipv6
def test_the_operators_seeds_are_dialed_wherever_they_are(run: Run[None]) -> None:
    async def scenario() -> None:
        async with node_of(1, PUBLIC) as public, node_of(2) as other:
            (addr,) = await other.listen(Multiaddr.from_text("/ip6/::1/tcp/0"))
            joined = await public.bootstrap([PeerInfo(other.peer_id, (addr,))], DEADLINE_S)
            assert joined.peer == other.peer_id

    run(scenario())


def test_a_peer_is_reached_at_what_is_left_of_its_addresses(run: Run[None]) -> None:
    """Private ones, however many stand first, take no place from the one that can be dialed."""

    async def scenario() -> None:
        async with node_of(1, PUBLIC) as public, node_of(2) as other:
            private = tuple(Multiaddr.from_text(f"/ip4/10.1.2.{n}/tcp/1") for n in range(40))
            known = PeerInfo(other.peer_id, (*private, *seed(other).addrs))
            kad = public.engine.config
            outcome = await ask(public, known, Choice(kad.protocol, encode_request(Kind.FIND_NODE, b"x")))
            assert not isinstance(outcome, Failed)

    run(scenario())
