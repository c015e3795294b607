"""What a node answers out of its store: only where nobody could know better, and only as long as it holds."""

from __future__ import annotations

from fastmarket.config import OfferConfig
from fastmarket.offers.lookup.local_answers import LocalAnswer, LocalAnswers
from fastmarket.offers.model.offer import Offer, sign_offer
from fastmarket.offers.store.offer_store import OfferStore
from tests.unit.offers.memory import CONTENT, MemoryNetwork, MemoryNode, identity, terms

CONFIG = OfferConfig(max_known=2)
FRESH = OfferConfig(max_known=2, max_fresh_offers=3, fresh_s=2.0)
DAY_S = 24 * 3600.0
OTHER = b"\x12\x20" + bytes(32)


def alone() -> tuple[MemoryNetwork, MemoryNode, OfferStore, LocalAnswers]:
    net = MemoryNetwork()
    node = net.add()
    assert node.offers is not None
    store = node.offers.store
    return net, node, store, LocalAnswers(store, node.engine.seed_sources, CONFIG)


def told(known: LocalAnswer | None) -> tuple[Offer, ...]:
    assert known is not None
    return known.offers


def test_only_a_node_with_nobody_to_ask_is_certain() -> None:
    net, node, _, known = alone()
    before = known.get(CONTENT, net.now)
    assert before is not None
    assert before.offers == ()
    assert before.is_current(net.now)
    net.join(node, net.add())
    assert not before.is_current(net.now)
    assert known.get(CONTENT, net.now) is None


def test_an_answer_is_the_same_until_something_changes() -> None:
    net, _, store, known = alone()
    dear, cheap = sign_offer(identity(60), terms(9), net.now), sign_offer(identity(61), terms(1), net.now)
    store.add(dear, net.now)
    first = known.get(CONTENT, net.now)
    assert known.get(CONTENT, net.now) is first
    store.add(cheap, net.now)
    assert first is not None
    assert not first.is_current(net.now)
    assert told(known.get(CONTENT, net.now)) == (cheap, dear)


def test_an_own_withdrawal_is_seen_at_once() -> None:
    net, node, _, known = alone()
    assert node.offers is not None
    node.offers.register(terms(9), net.now)
    before = known.get(CONTENT, net.now)
    assert before is not None
    assert len(before.offers) == 1
    node.offers.withdraw(CONTENT, b"u", net.now)
    assert not before.is_current(net.now)
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
    assert before.is_current(short.not_after - 1)
    assert not before.is_current(short.not_after)
    assert told(known.get(CONTENT, short.not_after)) == (long,)


def test_the_contents_kept_are_bounded_and_the_last_ones_stay() -> None:
    net, _, _, known = alone()
    first = known.get(CONTENT, net.now)
    known.get(OTHER, net.now)
    assert known.get(CONTENT, net.now) is first
    known.get(b"\x12\x20" + b"\1" * 32, net.now)
    assert len(known) == 2
    assert known.get(CONTENT, net.now) is first


def searched() -> tuple[MemoryNetwork, MemoryNode, LocalAnswers]:
    """A node that has somebody to ask, and may tell what it found lately."""
    net = MemoryNetwork()
    node, _ = net.mesh(2)
    assert node.offers is not None
    return net, node, LocalAnswers(node.offers.store, node.engine.seed_sources, FRESH)


def test_what_was_found_is_told_until_it_is_old() -> None:
    net, _, known = searched()
    dear, cheap = sign_offer(identity(60), terms(9), net.now), sign_offer(identity(61), terms(1), net.now)
    assert known.get(CONTENT, net.now) is None
    known.on_found(CONTENT, [dear, cheap], net.now - 0.5)
    first = known.get(CONTENT, net.now)
    assert told(first) == (cheap, dear)
    assert known.get(CONTENT, net.now) is first
    assert first is not None
    assert first.is_current(net.now + 1.4)
    assert not first.is_current(net.now + 1.5)
    assert known.get(CONTENT, net.now + 1.5) is None
    known.on_found(OTHER, [], net.now)
    assert told(known.get(OTHER, net.now)) == (), "that nobody has it was found, too"


def test_what_came_here_since_the_search_counts() -> None:
    net, node, known = searched()
    assert node.offers is not None
    other = sign_offer(identity(61), terms(1), net.now)
    gone = sign_offer(identity(61), terms(1), net.now, previous=other, withdrawn=True)
    own = node.offers.register(terms(9), net.now).offer
    known.on_found(CONTENT, [own, other], net.now)
    assert told(known.get(CONTENT, net.now)) == (other, own)
    node.offers.store.add(gone, net.now)
    assert told(known.get(CONTENT, net.now)) == (own,)
    node.offers.withdraw(CONTENT, b"u", net.now)
    assert told(known.get(CONTENT, net.now)) == ()


def test_a_tombstone_that_was_met_hides_what_comes_back() -> None:
    net, node, known = searched()
    assert node.offers is not None
    offer = sign_offer(identity(61), terms(1), net.now)
    known.on_found(
        CONTENT, [sign_offer(identity(61), terms(1), net.now, previous=offer, withdrawn=True)], net.now
    )
    node.offers.store.add(offer, net.now)
    assert told(known.get(CONTENT, net.now)) == ()


def test_what_was_found_is_bounded() -> None:
    net, _, known = searched()
    many = [sign_offer(identity(60 + n), terms(n), net.now) for n in range(2)]
    for content in (b"a", b"b"):
        known.on_found(content, many, net.now)
    assert known.get(b"a", net.now) is None, "four offers are too many"
    for content in (b"c", b"d", b"e"):
        known.on_found(content, [], net.now)
    assert [known.get(content, net.now) is not None for content in (b"b", b"c", b"d", b"e")] == [
        False,
        False,
        True,
        True,
    ]
