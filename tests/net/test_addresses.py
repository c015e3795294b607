"""Where a node can be reached: its interfaces, what others observed, what its operator says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.config import HostConfig, NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.observed import CONFIRMATIONS, Report
from fastmarket.net.addresses import MAX_MAPPED, OwnAddresses
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.interfaces import _routed_addresses, interface_addresses
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, has_ipv6, identity, nodes, port_of, told, until

OURS = identity(70).peer_id
SWEEPING = NodeConfig(host=replace(HostConfig(), listen=(), idle_sweep_s=0.01))


def tcp(ip: str, port: int = 4001) -> Multiaddr:
    return Multiaddr.from_endpoint(ip, port)


def test_every_address_of_an_interface_is_this_machines() -> None:
    found = interface_addresses()
    assert "127.0.0.1" in found
    for text in found:
        with socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET) as probe:
            probe.bind((text, 0))  # the kernel takes none but its own
    assert [":" in text for text in found] == sorted(":" in text for text in found)
    if has_ipv6():
        assert set(_routed_addresses()) <= set(found)


@pytest.mark.skipif(sys.platform != "linux", reason="another view of the same by Linux")
def test_all_addresses_the_kernel_lists_are_found() -> None:
    listing = Path("/proc/net/if_inet6")
    lines = listing.read_text().splitlines() if listing.exists() else []
    listed = {ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in lines}
    found = {ipaddress.ip_address(text) for text in interface_addresses()}
    assert {ip for ip in listed if not ip.is_link_local} == {ip for ip in found if ip.version == 6}


def test_what_changes_is_told_at_the_next_look() -> None:
    interfaces = ["127.0.0.1", "10.0.0.5"]
    own = OwnAddresses(OURS, interfaces=lambda: interfaces)
    heard: list[tuple[Multiaddr, ...]] = []
    own.on_changed.append(lambda: heard.append(own.announced))
    assert own.listen_on("0.0.0.0", 4001, 0.0) == [tcp("127.0.0.1"), tcp("10.0.0.5")]
    assert heard == [(tcp("10.0.0.5"), tcp("127.0.0.1"))]  # what reaches farther goes first
    own.refresh(1.0)
    assert len(heard) == 1
    interfaces[1] = "192.168.7.7"  # another network
    own.refresh(2.0)
    assert heard[1:] == [(tcp("192.168.7.7"), tcp("127.0.0.1"))]
    for n in range(CONFIRMATIONS):
        report = Report(identity(n).peer_id, tcp(f"{20 + n}.1.1.1"), tcp("5.6.7.8", 50_000), dialed_us=False)
        own.report(report, 3.0)
    assert len(heard) == 2  # whatever peers say, and however fast: it counts at the next look
    own.refresh(3.0)
    assert heard[2:] == [(tcp("5.6.7.8"), tcp("192.168.7.7"), tcp("127.0.0.1"))]
    assert tcp("5.6.7.8") in own
    assert tcp("5.6.7.8", 50_000) not in own


def test_a_mapped_address_is_announced_at_once_and_until_it_is_unmapped() -> None:
    own = OwnAddresses(OURS, interfaces=lambda: ["10.0.0.5"])
    own.listen_on("0.0.0.0", 4001, 0.0)
    heard: list[tuple[Multiaddr, ...]] = []
    own.on_changed.append(lambda: heard.append(own.announced))
    inside, outside = tcp("10.0.0.5"), tcp("5.6.7.8", 50_000)
    own.map(inside, outside)
    own.map(inside, outside)  # renewed: nothing new
    assert heard == [(outside, inside)]
    assert outside in own
    assert own.told_to(tcp("9.9.9.9")) == [outside, inside]
    own.refresh(1.0)
    own.unmap(inside, tcp("5.6.7.8", 50_001))  # never mapped
    assert len(heard) == 1
    own.unmap(inside, outside)
    assert heard[1:] == [(inside,)]
    assert outside not in own


def test_an_address_that_is_mapped_and_observed_is_announced_once_and_while_either_holds() -> None:
    own = OwnAddresses(OURS, interfaces=lambda: ["10.0.0.5"])
    own.listen_on("0.0.0.0", 4001, 0.0)
    inside, outside = tcp("10.0.0.5"), tcp("5.6.7.8")
    own.map(inside, outside)
    for n in range(CONFIRMATIONS):
        own.report(Report(identity(n).peer_id, tcp(f"{20 + n}.1.1.1"), outside, dialed_us=False), 1.0)
    own.refresh(1.0)
    assert own.announced == (outside, inside)
    own.unmap(inside, outside)
    assert own.announced == (outside, inside)


def test_a_mapping_is_not_announced_beside_what_the_operator_announces() -> None:
    own = OwnAddresses(OURS, ["/ip4/1.2.3.4/tcp/4001"], interfaces=lambda: ["10.0.0.5"])
    own.listen_on("0.0.0.0", 4001, 0.0)
    own.map(tcp("10.0.0.5"), tcp("5.6.7.8"))
    assert own.announced == (tcp("1.2.3.4"),)


def test_more_mappings_than_any_home_has_displace_the_oldest() -> None:
    own = OwnAddresses(OURS, interfaces=lambda: ["10.0.0.5"])
    own.listen_on("0.0.0.0", 4001, 0.0)
    for port in range(5000, 5000 + 2 * MAX_MAPPED):
        own.map(tcp("10.0.0.5"), tcp("5.6.7.8", port))
    assert len(own.announced) == MAX_MAPPED + 1
    assert tcp("5.6.7.8", 5000 + 2 * MAX_MAPPED - 1) in own


def test_loopback_is_told_on_this_machine_only() -> None:
    own = OwnAddresses(OURS, interfaces=lambda: ["127.0.0.1", "10.0.0.5"])
    own.listen_on("0.0.0.0", 4001, 0.0)
    assert own.told_to(tcp("10.0.0.9")) == own.told_to(None) == own.told_to_all() == [tcp("10.0.0.5")]
    assert set(own.told_to(tcp("127.0.0.1", 999))) == {tcp("127.0.0.1"), tcp("10.0.0.5")}
    alone = OwnAddresses(OURS)
    alone.listen_on("127.0.0.1", 4001, 0.0)
    assert alone.told_to(tcp("10.0.0.9")) == []
    assert alone.told_to_all() == [tcp("127.0.0.1")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("node.example.org", "slash"),
        ("/ip4/1.2.3.4/tcp/0", "cannot be dialed"),
        ("/ip4/0.0.0.0/tcp/1", "cannot be dialed"),
        ("/ip4/1.2.3.4/udp/1/quic-v1", "cannot be dialed"),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{identity(71).peer_id}", "another peer"),
    ],
)
def test_what_nobody_could_dial_is_not_announced(text: str, reason: str) -> None:
    with pytest.raises(CallerFault, match=reason) as caught:
        OwnAddresses(OURS, [text])
    assert caught.value.field == "announce"


def test_exactly_the_announced_addresses_are_told(run: Run[None]) -> None:
    async def scenario() -> None:
        announced = ("/dns4/node.example.org/tcp/4001", f"/ip4/127.0.0.1/tcp/9/p2p/{OURS}")
        config = NodeConfig(host=replace(SWEEPING.host, announce=announced))
        async with nodes(CONFIRMATIONS) as others:
            ours = DhtNode(identity(70), config)
            (listening,) = await ours.listen(LOOPBACK)
            async with forwarder(listening) as front:
                for other in others:
                    assert await other.dial(PeerInfo(OURS, (front,))) == OURS
                    assert list(map(str, told(other, ours).listen_addrs)) == [
                        "/dns4/node.example.org/tcp/4001",
                        "/ip4/127.0.0.1/tcp/9",
                    ]
                    assert told(other, ours).certified
                await until(lambda: len(ours.host.peers) == CONFIRMATIONS)
                assert len(ours.host.identifier.addresses.observed) == 0
                assert ours.engine.local.addrs == told(others[0], ours).listen_addrs
                assert ours.listen_addrs == (listening,)
            await ours.close()

    run(scenario())


def known_addrs(node: DhtNode, peer: PeerId) -> tuple[Multiaddr, ...]:
    contact = node.engine.routing.contact(peer)
    return () if contact is None else contact.info.addrs


@asynccontextmanager
async def forwarder(to: Multiaddr) -> AsyncIterator[Multiaddr]:
    """What a router with a forwarded port does: another address and port that leads to `to`."""
    target = to.host_port()
    assert target is not None
    ends: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(target.host, target.port)
        ends.extend((writer, back_writer))
        tasks.append(asyncio.ensure_future(copy(reader, back_writer)))
        tasks.append(asyncio.ensure_future(copy(back_reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Multiaddr.from_endpoint(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in ends:
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_where_enough_peers_reached_us_is_told_to_all(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(CONFIRMATIONS, SWEEPING) as others:
            ours = DhtNode(identity(70), SWEEPING)
            (listening,) = await ours.listen(LOOPBACK)
            async with forwarder(listening) as front:
                for other in others:
                    assert ours.announced_addrs == (listening,)
                    await other.bootstrap([PeerInfo(OURS, (front,))], DEADLINE_S)
                everywhere = {front, listening.without_peer()}
                await until(lambda: set(told(others[0], ours).listen_addrs) == everywhere)
                assert set(ours.announced_addrs) == {addr.with_peer(OURS) for addr in everywhere}
                assert set(ours.engine.local.addrs) == everywhere
                assert ours.listen_addrs == (listening,)
                await until(lambda: all(front in known_addrs(other, OURS) for other in others))
            await ours.close()

    run(scenario())


def test_one_port_of_both_families(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            b = DhtNode(identity(72), NodeConfig())
            await b.listen(Multiaddr.from_text("/ip4/0.0.0.0/tcp/0"))
            port = port_of(b)
            await b.listen(Multiaddr.from_text(f"/ip6/::/tcp/{port}"))
            assert set(b.host.listen_addrs) == {tcp(ip, port) for ip in interface_addresses()}
            for addr in b.host.listen_addrs:
                c = DhtNode(identity(73), NodeConfig())
                assert await c.dial(PeerInfo(b.peer_id, (addr,))) == b.peer_id
                await c.close()
            await a.dial(PeerInfo(b.peer_id, b.host.listen_addrs))
            assert set(told(a, b).listen_addrs) <= set(b.host.listen_addrs)
            await b.close()

    if not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    run(scenario())
