"""A version of an own offer that an earlier run gave away, and that other nodes bring back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import OfferConfig
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offers
from fastmarket.offers.wire.messages import encode_store
from tests.virtual import START, VirtualNetwork, VirtualNode, identity, peer_id_of, terms
from tests.virtual.values import CONTENT

OTHER = b"\x12\x20" + b"o" * 32


def newer(*wanted: OfferTerms, after: Offer, is_withdrawn: bool = False) -> list[Offer]:
    """Versions signed a while later, by a run that forgot them."""
    signings = [
        Signing(one, after if one.content == CONTENT else None, is_withdrawn, OfferConfig().lifetime_s)
        for one in wanted
    ]
    return sign_offers(identity(1), signings, START + 100.0)


def bring(node: VirtualNode, offers: list[Offer]) -> None:
    """Another node hands them over."""
    signed = offers[0].signed
    body = (
        encode_store((), [signed.data])
        if isinstance(signed, SignedBatch)
        else encode_store([offer.envelope for offer in offers])
    )
    node.network.move_to(START + 200.0)
    node.core.responders[node.config.offers.protocol](peer_id_of(9), body, node.network.now, b"")
    node.turn()


@pytest.fixture
def node() -> VirtualNode:
    return VirtualNetwork.immediate(offers=replace(OfferConfig(), retry_first_s=30.0)).add()


@pytest.mark.parametrize("together", [False, True])
def test_it_is_the_current_version_and_is_announced(node: VirtualNode, together: bool) -> None:
    first = node.offers.own.register(terms(5), node.network.now)
    wanted = [terms(9), terms(7, content=OTHER)] if together else [terms(9)]
    brought = newer(*wanted, after=first)
    bring(node, brought)
    assert node.offers.own.current(first.key) == node.offers.store.get(first.key) == brought[0]
    assert node.offers.own.seq_floor == max(offer.seq for offer in brought)
    assert len(node.offers.own) == 1  # one that this node does not know is nothing that it announces
    assert (due := node.offers.own.next_timer()) is not None
    assert due <= node.network.now + 30.0


def test_the_next_version_outranks_it(node: VirtualNode) -> None:
    first = node.offers.own.register(terms(5), node.network.now)
    (brought,) = newer(terms(9), after=first)
    bring(node, [brought])
    withdrawn = node.offers.own.withdraw(CONTENT, b"u", START)  # by a clock that was set back
    assert withdrawn.seq > brought.seq
    assert node.offers.store.get(first.key) == withdrawn


def test_a_tombstone_ends_the_offer(node: VirtualNode) -> None:
    first = node.offers.own.register(terms(5), node.network.now)
    (brought,) = newer(terms(5), after=first, is_withdrawn=True)
    bring(node, [brought])
    assert len(node.offers.own) == 0
    assert list(node.offers.own) == []
    again = node.offers.own.register(terms(6), node.network.now)
    assert len(node.offers.own) == 1
    assert again.seq > brought.seq


def test_an_older_one_changes_nothing(node: VirtualNode) -> None:
    first = node.offers.own.register(terms(5), node.network.now)
    (later,) = newer(terms(9), after=first)
    bring(node, [later])
    bring(node, [first])
    assert node.offers.own.current(first.key) == later


def test_an_offer_signed_by_a_clock_that_was_ahead_is_renewed(node: VirtualNode) -> None:
    """Others would refuse it until then."""
    now = node.network.now
    (early,) = sign_offers(identity(1), [Signing(terms(5), None, False, 3600.0)], now + 7200.0)
    node.offers.own.restore(early, now)
    later = now + OfferConfig().restore_spread_s + 60.0
    node.offers.own.handle_timer(later)
    (announced,) = node.offers.own.take_due(later)
    assert announced.issued_at <= later
    assert announced.seq > early.seq


@pytest.mark.parametrize("how", ["announced", "withdrawn again"])
def test_a_withdrawal_signed_by_a_clock_that_was_ahead_is_signed_again(node: VirtualNode, how: str) -> None:
    """Otherwise nobody took it until then, and the offer lived on elsewhere."""
    now, own = node.network.now, node.offers.own
    (offer,) = sign_offers(identity(1), [Signing(terms(5))], now - 60.0)
    (early,) = sign_offers(identity(1), [Signing(terms(5), offer, withdrawn=True)], now + 7200.0)
    own.restore(early, now)
    later = now + OfferConfig().restore_spread_s + 60.0
    if how == "announced":
        own.handle_timer(later)
        (again,) = own.take_due(later)
    else:
        again = own.withdraw(offer.content, offer.user_id, later)
    assert again.withdrawn
    assert again.issued_at <= later
    assert again.seq > early.seq
    assert again.not_after == early.not_after, "as long as the offer may live"
    assert own.current(early.key) == node.offers.store.get(early.key) == again
    assert len(own) == 0
    own.handle_timer(again.not_after + 1.0)
    assert own.current(early.key) is None
