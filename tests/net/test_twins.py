"""Two nodes with one key: each is told, by proof and not by hearsay."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from fastmarket.config import NodeConfig
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, identity, nodes, seed, until


def test_a_second_node_with_the_same_key_is_noticed_by_both(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), host=replace(NodeConfig().host, listen=()))
        async with nodes(2) as (first, second):
            await second.bootstrap([seed(first)], DEADLINE_S)
            twin = DhtNode(identity(1), config)
            try:
                await twin.listen(LOOPBACK)
                with caplog.at_level(logging.WARNING):
                    await twin.bootstrap([seed(first)], DEADLINE_S)
                    second.twins.ask()  # as it does now and then
                    await until(lambda: twin.twins.found_at is not None and second.twins.found_at is not None)
                assert second.twins.found_at == twin.host.listen_addrs[0]
                assert sum("uses this node's key" in text for text in caplog.messages) == 2
            finally:
                await twin.close()

    run(scenario())


def test_what_others_say_of_our_addresses_is_no_proof(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (node, other):
            nobody = Multiaddr.from_text("/ip4/127.0.0.1/tcp/1")
            node.twins.on_named(PeerInfo(node.peer_id, (nobody, *other.host.listen_addrs)))
            look = node.twins._look
            assert look is not None
            await asyncio.wait_for(look, DEADLINE_S)
            assert node.twins.found_at is None
            node.twins.on_named(PeerInfo(node.peer_id, other.host.listen_addrs))
            assert node.twins._look is look, "not so soon again"

    run(scenario())


def test_an_address_of_ours_that_we_did_not_know_is_no_other_node(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,):
            endpoint = node.host.listen_addrs[0].host_port()
            assert endpoint is not None
            also = Multiaddr.from_text(f"/dns4/localhost/tcp/{endpoint.port}")
            node.twins.on_named(PeerInfo(node.peer_id, (also,)))
            look = node.twins._look
            assert look is not None
            await asyncio.wait_for(look, DEADLINE_S)
            assert node.twins.found_at is None

    run(scenario())
