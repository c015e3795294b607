"""Encoded answers are given again only while they hold, and bounded in bytes."""

from __future__ import annotations

from fastmarket.config import OfferConfig
from fastmarket.market.answer_cache import ENTRY_BYTES, AnswerCache
from fastmarket.offers.lookup.local_answers import LocalAnswer, LocalAnswers
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.store.offer_store import OfferStore
from tests.virtual import CONTENT, START, VirtualNetwork, identity, terms


def known_of(store: OfferStore) -> LocalAnswer:
    known = LocalAnswers(store, ([], []), OfferConfig()).get(CONTENT, START)
    assert known is not None
    return known


def new_store() -> OfferStore:
    return VirtualNetwork.immediate().add().offers.store


def test_an_answer_is_given_until_it_does_not_hold() -> None:
    store = new_store()
    ready = AnswerCache(lambda: START, 4096)
    assert ready.get(b"request") is None
    ready.put(b"request", known_of(store), b"")
    assert ready.get(b"request") == b"", "nobody has it: an answer, too"
    assert ready.get(b"another") is None
    store.add(sign_offer(identity(60), terms(9), START), START)
    assert ready.get(b"request") is None
    assert len(ready) == 0


def test_the_oldest_go_and_what_is_too_long_is_not_kept() -> None:
    known = known_of(new_store())
    ready = AnswerCache(lambda: START, 10 * (ENTRY_BYTES + 20))
    ready.put(b"long", known, bytes(10 * ENTRY_BYTES))
    assert len(ready) == 0
    for number in range(20):
        ready.put(b"%010d" % number, known, b"a" * 10)
        ready.put(b"%010d" % number, known, b"b" * 10)
    assert len(ready) == 10
    assert ready.get(b"%010d" % 9) is None
    assert ready.get(b"%010d" % 10) == b"b" * 10
