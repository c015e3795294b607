"""Listening, dialing and identifying over every kind of address."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from fastmarket._version import __version__
from fastmarket.config import HostConfig, NodeConfig
from fastmarket.errors import CallerFault, DialFailed
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode
from tests.conftest import Run
from tests.net.loopback import (
    DEADLINE_S,
    LOOPBACK,
    has_ipv6,
    identity,
    nodes,
    port_of,
    seed,
    told,
    until,
)


@pytest.mark.parametrize("name", ["/dns4/localhost", "/dns/localhost"])
def test_names_are_dialed(run: Run[None], name: str) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            addr = Multiaddr.from_text(f"{name}/tcp/{port_of(a)}")
            assert await b.dial(PeerInfo(a.peer_id, (addr,))) == a.peer_id

    run(scenario())


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_ipv6_is_listened_on_and_dialed(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            b = DhtNode(identity(50), NodeConfig())
            (addr,) = await b.listen(Multiaddr.from_text("/ip6/::1/tcp/0"))
            assert str(addr).startswith("/ip6/::1/tcp/")
            await a.bootstrap([PeerInfo(b.peer_id, (addr,))], DEADLINE_S)
            assert a.engine.closest(b"", 1)[0].addrs == b.host.listen_addrs
            await b.close()

    run(scenario())


def test_a_dead_address_beside_a_good_one_costs_little(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            dead = Multiaddr.from_text("/ip4/127.0.0.1/tcp/1")
            await b.dial(PeerInfo(a.peer_id, (dead, *a.host.listen_addrs)))

    run(scenario())


def test_a_peer_without_an_address_is_a_clear_error(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            with pytest.raises(DialFailed, match="no address known"):
                await a.dial(PeerInfo(identity(51).peer_id))
            with pytest.raises(DialFailed, match="this node itself"):
                await a.dial(seed(a))

    run(scenario())


def test_what_cannot_be_listened_on_names_itself(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            for text in ("/dns4/localhost/tcp/0", "/ip4/127.0.0.1/udp/1", f"/ip4/127.0.0.1/tcp/{port_of(a)}"):
                with pytest.raises(CallerFault) as caught:
                    await a.listen(Multiaddr.from_text(text))
                assert caught.value.field == "listen"
                assert text in caught.value.reason

    run(scenario())


def test_all_interfaces_become_addresses_that_can_be_dialed(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            b = DhtNode(identity(52), NodeConfig())
            addrs = await b.listen(Multiaddr.from_text("/ip4/0.0.0.0/tcp/0"))
            assert "/ip4/127.0.0.1/" in str(addrs)
            assert "0.0.0.0" not in str(addrs)
            for addr in addrs:
                c = DhtNode(identity(53), NodeConfig())
                assert await c.dial(PeerInfo(b.peer_id, (addr,))) == b.peer_id
                await c.close()
            assert a.host.connection_count == 0
            await b.close()

    run(scenario())


def test_identify_tells_all_of_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.dial(seed(a))
            await until(lambda: a.host.link_to(b.peer_id) is not None)
            info = told(b, a)
            assert info.agent_version == f"fastmarket/{__version__}"
            assert info.public_key == a.host.identity.public_key
            assert info.listen_addrs == a.host.listen_addrs
            assert info.certified
            assert {"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"} <= set(info.protocols)
            assert {"/fastmarket/kad/1.0.0", "/fastmarket/offer/1.0.0"} <= set(info.protocols)
            # What we look like from there: our own end of the connection.
            link = b.host.link_to(a.peer_id)
            assert link is not None
            assert str(info.observed_addr).startswith("/ip4/127.0.0.1/tcp/")
            assert info.observed_addr not in b.host.listen_addrs

    run(scenario())


def test_a_client_lists_no_kad_and_stays_out_of_tables(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), server_mode=False)
        async with nodes(2) as (a, b):
            client = DhtNode(identity(54), config)
            await b.bootstrap([seed(a)], DEADLINE_S)
            await client.bootstrap([seed(a)], DEADLINE_S)
            await until(lambda: a.host.connection_count == 2)
            assert [contact.info.peer_id for contact in a.engine.contacts()] == [b.peer_id]
            await b.put_record(b"k", b"v", deadline_s=DEADLINE_S)
            assert await client.get_record(b"k", deadline_s=DEADLINE_S) == b"v"
            await client.close()

    run(scenario())


def test_a_new_listen_address_is_pushed_to_connected_peers(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            await a.listen(LOOPBACK)
            assert len(a.host.listen_addrs) == 2
            await until(lambda: set(told(b, a).listen_addrs) == set(a.host.listen_addrs))
            assert set(b.engine.closest(b"", 1)[0].addrs) == set(a.host.listen_addrs)

    run(scenario())


def test_an_idle_connection_is_closed_and_made_again_when_wanted(run: Run[None]) -> None:
    async def scenario() -> None:
        config = NodeConfig()
        config = replace(
            config,
            host=HostConfig(idle_timeout_s=0.1, idle_sweep_s=0.01),
            connection=replace(config.connection, request_idle_s=0.01),
        )
        async with nodes(2, config) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            await until(lambda: a.host.connection_count == b.host.connection_count == 0)
            assert b.engine.table_size == 1  # an idle peer is no lost peer
            await b.put_record(b"k", b"v", deadline_s=DEADLINE_S)

    run(scenario())


def test_a_stopped_node_gives_up_what_waits(run: Run[None]) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts by its backlog, and never says a word
            addr = Multiaddr.from_endpoint(*mute.getsockname())
            async with nodes(1) as (a,):
                dialing = asyncio.ensure_future(a.dial(PeerInfo(identity(55).peer_id, (addr,))))
                await until(lambda: a.host.connection_count == 1)
                await a.close()
                with pytest.raises(DialFailed, match="stopping"):
                    await dialing

    run(scenario())
