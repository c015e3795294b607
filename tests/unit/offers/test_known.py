"""What a node answers out of its store: only where nobody could know better, and only as long as it holds."""

from __future__ import annotations

from fastmarket.offers.known import Known, KnownOffers
from fastmarket.offers.model import Offer, sign_offer
from fastmarket.offers.store import OfferStore
from tests.unit.offers.memory import CONTENT, MemoryNetwork, MemoryNode, identity, terms

DAY_S = 24 * 3600.0
OTHER = b"\x12\x20" + bytes(32)


def alone() -> tuple[MemoryNetwork, MemoryNode, OfferStore, KnownOffers]:
    net = MemoryNetwork()
    node = net.add()
    assert node.offers is not None
    store = node.offers.store
    return net, node, store, KnownOffers(store, node.engine.askable, 2)


def told(known: Known | None) -> tuple[Offer, ...]:
    assert known is not None
    return known.offers


def test_only_a_node_with_nobody_to_ask_is_certain() -> None:
    net, node, _, known = alone()
    before = known.get(CONTENT, net.now)
    assert before is not None
    assert before.offers == ()
    assert before.holds(net.now)
    net.join(node, net.add())
    assert not before.holds(net.now)
    assert known.get(CONTENT, net.now) is None


def test_an_answer_is_the_same_until_something_changes() -> None:
    net, _, store, known = alone()
    dear, cheap = sign_offer(identity(60), terms(9), net.now), sign_offer(identity(61), terms(1), net.now)
    store.add(dear, net.now)
    first = known.get(CONTENT, net.now)
    assert known.get(CONTENT, net.now) is first
    store.add(cheap, net.now)
    assert first is not None
    assert not first.holds(net.now)
    assert told(known.get(CONTENT, net.now)) == (cheap, dear)


def test_an_own_withdrawal_is_seen_at_once() -> None:
    net, node, _, known = alone()
    assert node.offers is not None
    node.offers.register(terms(9), net.now)
    before = known.get(CONTENT, net.now)
    assert before is not None
    assert len(before.offers) == 1
    node.offers.withdraw(CONTENT, b"u", net.now)
    assert not before.holds(net.now)
    assert told(known.get(CONTENT, net.now)) == ()


def test_an_offer_that_is_over_is_told_no_more() -> None:
    net, _, store, known = alone()
    short = sign_offer(identity(60), terms(9), net.now, lifetime_s=DAY_S / 2)
    long = sign_offer(identity(61), terms(10), net.now, lifetime_s=DAY_S)
    store.add(short, net.now)
    store.add(long, net.now)
    before = known.get(CONTENT, net.now)
    assert told(before) == (short, long)
    assert before is not None
    assert before.holds(short.not_after - 1)
    assert not before.holds(short.not_after)
    assert told(known.get(CONTENT, short.not_after)) == (long,)


def test_the_contents_kept_are_bounded_and_the_last_ones_stay() -> None:
    net, _, _, known = alone()
    first = known.get(CONTENT, net.now)
    known.get(OTHER, net.now)
    assert known.get(CONTENT, net.now) is first
    known.get(b"\x12\x20" + b"\1" * 32, net.now)
    assert len(known) == 2
    assert known.get(CONTENT, net.now) is first
