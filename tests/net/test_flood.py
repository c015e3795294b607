"""A flood of STOREs over real connections. Loopback is one address block: there, senders have shares."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from fastmarket.config import NodeConfig
from fastmarket.formats.choice import Choice
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.libp2p.requests import Reply
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from tests.conftest import Run
from tests.net.guests import guests
from tests.net.loopback import ask, identity, nodes, seed

OFFER = NodeConfig().offers.protocol
TOGETHER = 64  # signatures in one STORE
ROUNDS = 40


def offer(holder: int, now: float) -> bytes:
    content = b"\x12\x20" + sha256(b"%d" % holder).digest()
    terms = OfferTerms(content, b"u", "", FileMetadata("192.0.2.1", 80, 5))
    return sign_offer(identity(holder), terms, now).envelope


async def store(guest: DhtNode, node: DhtNode, *envelopes: bytes) -> tuple[Ack, ...]:
    outcome = await ask(guest, seed(node), Choice(OFFER, encode_store(envelopes)))
    assert isinstance(outcome, Reply)
    return decode_store_reply(outcome.payload).acks


def test_one_that_sends_forged_offers_takes_its_share_of_the_signatures_and_no_more(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,), guests(2) as (forger, honest):
            acks: Counter[Ack] = Counter()
            start = offer(1, forger.now())[:-6]  # of the signature, the end is missing
            for number in range(ROUNDS):
                forged = [b"%b%04d%02d" % (start, number, n) for n in range(TOGETHER)]
                acks.update(await store(forger, node, *forged))
                assert await store(honest, node, offer(2000 + number, honest.now())) == (Ack.STORED,)
            assert acks[Ack.FULL] > acks[Ack.INVALID] > 0
            assert node.offers.verifier.verified_count == acks[Ack.INVALID] + ROUNDS
            assert len(node.offers.store) == ROUNDS

    run(scenario())


def test_what_is_refused_together_is_acknowledged_one_by_one(run: Run[None]) -> None:
    """As many answers as offers, or the sender could not tell which of them are stored."""

    async def scenario() -> None:
        async with nodes(1) as (node,), guests(1) as (guest,):
            assert await store(guest, node, offer(3000, guest.now())) == (Ack.STORED,)
            node.offers.work.spend(Source(NEARBY, guest.peer_id.raw), 1e8, node.now())
            late = [offer(holder, guest.now()) for holder in (3001, 3002, 3003)]
            assert await store(guest, node, *late) == (Ack.FULL,) * 3
            assert len(node.offers.store) == 1

    run(scenario())
