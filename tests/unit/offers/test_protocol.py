"""What a node answers to STORE and FIND."""

from __future__ import annotations

import pytest

from fastmarket.config import OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.wire.messages import (
    Ack,
    FindRequest,
    decode_find_reply,
    decode_store_reply,
    encode_find,
    encode_store,
)
from tests.virtual import CONTENT, START, VirtualNetwork, identity, terms


def test_store_acknowledges_each_offer() -> None:
    net = VirtualNetwork.immediate()
    node, sender = net.mesh(2)
    first = sign_offer(identity(50), terms(3), START)
    second = sign_offer(identity(50), terms(4), START, previous=first)
    old = sign_offer(identity(51), terms(), START - 50 * 3600)
    early = sign_offer(identity(52), terms(), START + 3600)
    body = encode_store(
        [second.envelope, first.envelope, old.envelope, early.envelope, b"junk", second.envelope]
    )
    reply = node.offers.handle_request(sender.peer_id, body, START)
    assert decode_store_reply(reply).acks == (
        Ack.STORED,
        Ack.SUPERSEDED,
        Ack.EXPIRED,
        Ack.INVALID,
        Ack.INVALID,
        Ack.STORED,
    )
    assert node.offers.acks == {Ack.STORED: 2, Ack.SUPERSEDED: 1, Ack.EXPIRED: 1, Ack.INVALID: 2}
    assert node.offers.verifier.verified_count == 1, "what cannot be kept is not verified"
    assert node.offers.refusals == {
        Refusal.SUPERSEDED: 1,
        Refusal.EXPIRED: 1,
        Refusal.FUTURE: 1,
        Refusal.MALFORMED: 1,
    }


def test_find_returns_offers_and_closer_peers_without_the_asker() -> None:
    net = VirtualNetwork.immediate()
    node, *others = net.mesh(4)
    offers = [sign_offer(identity(50 + n), terms(9 - n), START) for n in range(3)]
    for offer in offers:
        node.offers.store.add(offer, START)
    request = encode_find(FindRequest(CONTENT, 2))
    reply = decode_find_reply(
        node.offers.handle_request(others[0].peer_id, request, START), 2, node.engine.config
    )
    assert reply.envelopes == (offers[2].envelope, offers[1].envelope)
    assert reply.more
    assert {peer.peer_id for peer in reply.closer} == {other.peer_id for other in others[1:]}


def test_a_reply_stays_within_its_bound() -> None:
    net = VirtualNetwork.immediate()
    node, *others = net.mesh(30)
    for n in range(200):
        node.offers.store.add(sign_offer(identity(100 + n), terms(n, user=bytes(900)), START), START)
    request = encode_find(FindRequest(CONTENT, 2**32 - 1))
    raw = node.offers.handle_request(others[0].peer_id, request, START)
    assert 0.9 * node.offers.config.max_message_bytes < len(raw) <= node.offers.config.max_message_bytes
    reply = decode_find_reply(raw, 200, node.engine.config)
    assert reply.more
    assert len(reply.closer) == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xff",
        b"\x0a\x03abc",
        encode_find(FindRequest(b"", 1)),
        encode_find(FindRequest(bytes(81), 1)),
        encode_store([b""] * (OfferConfig().max_offers_per_store + 1)),
        encode_store([b"%d" % n for n in range(OfferConfig().max_signatures_per_store + 1)]),
        bytes(OfferConfig().max_message_bytes + 1),
    ],
    ids=range(8),
)
def test_garbage_is_a_peers_fault_and_changes_nothing(body: bytes) -> None:
    net = VirtualNetwork.immediate()
    node, sender = net.mesh(2)
    with pytest.raises(PeerFault):
        node.offers.handle_request(sender.peer_id, body, START)
    assert len(node.offers.store) == 0


def test_changes_tell_what_was_put_into_the_store_and_whose_it_is() -> None:
    net = VirtualNetwork.immediate()
    node, other = net.mesh(2)
    node.offers.register(terms(1), START)
    changes = node.offers.store.changes
    assert changes.take() == []  # nobody wanted them
    changes.collect()
    own = node.offers.register(terms(2), START).offer
    foreign = sign_offer(identity(50), terms(3), START)
    for _ in range(2):  # what is held already is no change
        node.offers.handle_request(other.peer_id, encode_store([foreign.envelope]), START)
    gone = node.offers.withdraw(CONTENT, b"u", START).offer
    assert [(change.offer, change.own) for change in changes.take()] == [
        (own, True),
        (foreign, False),
        (gone, True),
    ]
    assert changes.take() == []


def test_a_withdrawal_reaches_the_storers_and_makes_nobody_a_provider() -> None:
    net = VirtualNetwork.immediate()
    *nodes, plain = net.mesh(6, plain=1)
    first = nodes[0]
    announcement = first.offers.register(terms(), START)
    first.run_announcement(announcement)
    before = len(plain.served)
    withdrawal = first.offers.withdraw(CONTENT, b"u", START + 1)
    first.run_announcement(withdrawal)
    assert plain.served[before:] == [plain.engine.config.protocol]  # the lookup, no provider record
    for node in nodes:
        assert list(node.offers.store.offers(CONTENT, START + 1)) == []
        assert node.offers.store.get(withdrawal.offer.key) == withdrawal.offer
        assert node.offers.store.providers(CONTENT, START + 1) == []
