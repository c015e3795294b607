"""Batches that replace each other, between real nodes: what was asked before is answered anew."""

from __future__ import annotations

import asyncio

from fastmarket.formats.choice import Choice
from fastmarket.formats.cid import new_cidv0
from fastmarket.libp2p.requests import Reply
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.offers.wire.messages import FindRequest, decode_find_reply, encode_find
from fastmarket.offers.wire.verifying import open_offer
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, ask, nodes, seed

CONTENTS = [new_cidv0(b"batch %d" % number).multihash for number in range(20)]


def terms(price: int) -> list[OfferTerms]:
    metadata = FileMetadata("192.0.2.7", 9000, price)
    return [OfferTerms(content, b"u", "ann", metadata) for content in CONTENTS]


async def told(asker: DhtNode, node: DhtNode, content: bytes) -> list[int]:
    """Prices in the node's own answer to FIND."""
    config = node.offers.config
    outcome = await ask(asker, seed(node), Choice(config.protocol, encode_find(FindRequest(content, 10))))
    assert isinstance(outcome, Reply)
    reply = decode_find_reply(outcome.payload, 10, node.engine.config)
    return [open_offer(envelope, node.now()).price_per_mb for envelope in reply.envelopes]


def test_a_batch_that_replaces_another_is_told_of_by_everybody_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            holder, storer, asker = made
            await asyncio.gather(*(node.bootstrap([seed(holder)], DEADLINE_S) for node in made[1:]))
            for node in (holder, storer):
                assert await told(asker, node, CONTENTS[0]) == []
            for price in (5, 6, 7):
                outcomes = await holder.register_offers(terms(price), DEADLINE_S)
                assert all(outcome.acknowledged == outcome.asked == 2 for outcome in outcomes)
                for node in (holder, storer):
                    for content in CONTENTS[:3]:
                        for _ in range(2):  # the second answer may be one that was kept
                            assert await told(asker, node, content) == [price]
            await holder.withdraw_offer(CONTENTS[1], b"u", DEADLINE_S)
            for content, left in ((CONTENTS[0], [7]), (CONTENTS[1], [])):
                assert [offer.price_per_mb async for offer in asker.find_offers(content, DEADLINE_S)] == left

    run(scenario())
