"""Searches of real nodes: each asks the network, unless what was found lately may be told again."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

from fastmarket.config import NodeConfig, OfferConfig
from fastmarket.market.service import MarketService
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, identity, nodes, seed, until

CONTENT = b"\x12\x20" + bytes(32)
TERMS = FileMetadata("192.0.2.1", 80, 5)


def test_a_search_is_told_again_only_where_that_is_wanted(run: Run[None]) -> None:
    config = NodeConfig()
    lately = replace(config, offers=OfferConfig(fresh_s=3600.0), host=replace(config.host, listen=()))

    async def main() -> None:
        async with nodes(2) as (holder, strict), AsyncExitStack() as stack:
            relaxed = DhtNode(identity(7), lately)
            stack.push_async_callback(relaxed.close)
            await relaxed.listen(LOOPBACK)
            for node in (strict, relaxed):
                await node.bootstrap([seed(holder)], DEADLINE_S)
            await until(lambda: holder.engine.table_size == 2)
            await holder.register_offer(CONTENT, b"u", "Ann", TERMS, DEADLINE_S)
            for node, again in ((strict, 0), (relaxed, 1)):
                service = MarketService(node, now=node.now)
                assert len(await service.find(CONTENT)) == 1
                known = node.known_offers(CONTENT)
                assert (known is not None) == bool(again)
                await service.close()
            await holder.withdraw_offer(CONTENT, b"u", DEADLINE_S)
            assert await MarketService(strict, now=strict.now).find(CONTENT) == []
            # It was told itself: a storer of three is sure to be.
            assert await MarketService(relaxed, now=relaxed.now).find(CONTENT) == []

    run(main())
