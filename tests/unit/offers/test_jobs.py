"""Announcing and finding offers among whole nodes, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.core.commands import FindOffers, OffersFound
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.put_job import PutResult
from fastmarket.kad.wire.messages import Field, Kind, encode_peer, encode_request
from fastmarket.offers.lookup.queries import MAX_BAD_A_REPLY
from fastmarket.offers.model.mixing import price_order
from fastmarket.offers.model.offer import Offer, SignedAlone, sign_offer
from fastmarket.offers.wire.messages import FindRequest
from tests.virtual import CONTENT, START, State, VirtualNetwork, VirtualNode, identity, terms


def outcome_of(result: object) -> Outcome:
    assert isinstance(result, PutResult)
    return result.outcome


def register(net: VirtualNetwork, node: VirtualNode, price: int = 5, user: bytes = b"u") -> Outcome:
    announced = node.run_announcement(node.offers.register(terms(price, user=user), net.now))
    reached = [item for item in announced.progress if isinstance(item, Outcome)]
    outcome = outcome_of(announced.result)
    assert len(reached) == outcome.is_reached
    return outcome


def find(net: VirtualNetwork, node: VirtualNode) -> list[Offer]:
    result = node.run(FindOffers(CONTENT, node.config.kad.job_timeout_s)).result
    assert isinstance(result, OffersFound)
    return list(result.offers)


def found(net: VirtualNetwork, node: VirtualNode) -> tuple[list[object], object]:
    """All that the job tells, tombstones of offers that it has not told among it, and its result."""
    job_id = node.start_job(node.offers.find(CONTENT))
    net.run(lambda: job_id in node.finished)
    return node.progress.get(job_id, []), node.finished[job_id].result


def found_prices(net: VirtualNetwork, node: VirtualNode) -> list[int]:
    return [offer.price_per_mb for offer in find(net, node)]


def test_an_offer_is_stored_by_all_and_found_after_its_holder_died() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    assert register(net, a, 7) == Outcome(2, 2, 2)
    assert register(net, b, 3) == Outcome(2, 2, 2)
    assert found_prices(net, c) == [3, 7]
    a.state = State.DOWN
    before = net.now
    assert found_prices(net, c) == [3, 7]
    assert net.now - before < 1


def test_what_is_stored_here_is_told_before_anyone_answers() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    register(net, a)
    b.state = State.SILENT
    job_id = a.start_job(a.offers.find(CONTENT))
    net.settle()
    assert [item.provider for item in a.progress[job_id] if isinstance(item, Offer)] == [a.peer_id]
    assert job_id not in a.finished


def test_alone_here_is_enough() -> None:
    net = VirtualNetwork.immediate()
    node = net.add()
    assert register(net, node) == Outcome(0, 0, 0)
    assert found_prices(net, node) == [5]


def test_standard_nodes_get_a_provider_record_and_do_not_count() -> None:
    net = VirtualNetwork.immediate()
    *ours, plain = net.mesh(4, plain=1)
    assert register(net, ours[0]) == Outcome(2, 2, 2, plain=1)
    (provider,) = plain.engine.handlers.providers.providers(CONTENT, net.now)
    assert provider.peer_id == ours[0].peer_id
    assert provider.addrs == ours[0].info.addrs


def behind_standard_nodes(net: VirtualNetwork) -> tuple[VirtualNode, VirtualNode]:
    """A buyer and a holder that know each other by nothing but a provider record on standard nodes."""
    holder, *plain = net.mesh(4, plain=3)
    assert register(net, holder) == Outcome(0, 0, 0, plain=3)
    for node in plain:
        node.engine.routing.on_refusal(holder.peer_id, [node.engine.config.protocol], net.now)
    buyer = net.add()
    net.acquaint(buyer, *plain)
    holder.served.clear()
    return buyer, holder


def test_among_standard_nodes_the_holder_is_asked_itself() -> None:
    net = VirtualNetwork.immediate()
    buyer, holder = behind_standard_nodes(net)
    assert found_prices(net, buyer) == [5]
    assert holder.served == [holder.offers.config.protocol]


def test_a_provider_that_hangs_delays_the_answer_by_the_short_deadline_alone() -> None:
    net = VirtualNetwork.immediate()
    buyer, holder = behind_standard_nodes(net)
    holder.state = State.SILENT
    before = net.now
    assert found_prices(net, buyer) == []
    assert net.now == before + buyer.offers.config.direct_timeout_s


def test_the_number_of_providers_asked_is_bounded() -> None:
    config = OfferConfig(max_direct_asks=3)
    net = VirtualNetwork.immediate(offers=config)
    buyer, plain = net.mesh(2, plain=1)
    holders = [net.add() for _ in range(10)]
    for holder in holders:
        add = encode_request(Kind.ADD_PROVIDER, CONTENT) + encode_peer(Field.PROVIDER_PEERS, holder.info, 700)
        plain.engine.handle_request(holder.peer_id, add, net.now)
    find(net, buyer)
    assert sum(len(holder.served) for holder in holders) == 3


def test_a_price_change_is_seen_and_the_older_version_is_not() -> None:
    net = VirtualNetwork.immediate()
    a, b, c, d = net.mesh(4)
    register(net, a, 7)
    d.state = State.DOWN
    register(net, a, 2)
    d.state = State.UP  # slept through it
    assert d.offers.store.find(FindRequest(CONTENT, 9), net.now, 10**6).envelopes != ()
    for node in (b, c, d):
        assert found_prices(net, node) == [2]


def test_a_newer_version_follows_the_older_in_the_progress() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    old = sign_offer(identity(50), terms(9), net.now)
    gone = sign_offer(identity(50), terms(9), net.now, previous=old, withdrawn=True)
    for node in (a, b):
        node.offers.store.add(old, net.now)
    job = a.offers.find(CONTENT)
    c.offers.store.add(gone, net.now)
    c.state = State.SILENT
    job_id = a.start_job(job)
    net.settle()
    assert a.progress[job_id] == [old]
    c.state = State.UP
    # A tombstone is not handed out by FIND; the next version of the offer is.
    newer = sign_offer(identity(50), terms(4), net.now, previous=gone)
    b.offers.store.add(newer, net.now)
    assert found(net, a) == ([old, newer], (newer,))


def test_a_tombstone_held_here_hides_what_others_still_hold() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    old = sign_offer(identity(50), terms(9), net.now)
    gone = sign_offer(identity(50), terms(9), net.now, previous=old, withdrawn=True)
    a.offers.store.add(gone, net.now)
    b.offers.store.add(old, net.now)
    c.offers.store.add(old, net.now)
    assert find(net, a) == []


def test_invalid_expired_and_foreign_offers_are_left_out_of_an_answer() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    other = b"\x12\x20" + bytes(32)
    good = sign_offer(identity(50), terms(1), net.now)
    foreign = sign_offer(identity(51), terms(2, content=other), net.now)
    forged = sign_offer(identity(52), terms(3), net.now)._replace(
        signed=SignedAlone(b"", good.envelope[:-1] + b"\x00")
    )
    old = sign_offer(identity(53), terms(4), net.now - 50 * 3600)
    shelf = [foreign._replace(content=CONTENT), forged, old._replace(not_after=int(net.now) + 9), good]
    for offer in shelf:
        b.offers.store.add(offer, net.now)
    assert find(net, a) == [good]


def test_of_many_bad_offers_in_an_answer_few_are_verified() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    good = sign_offer(identity(50), terms(1), net.now)
    for n in range(40):
        one = sign_offer(identity(100 + n), terms(9), net.now)
        bad = one._replace(signed=SignedAlone(b"", one.envelope[:-1] + b"\x00"))
        b.offers.store.add(bad, net.now)
    b.offers.store.add(good, net.now)
    assert find(net, a) == [good]  # the cheapest came first
    assert a.offers.verifier.verified_count == 1 + MAX_BAD_A_REPLY


def test_more_offers_than_one_reply_holds_are_fetched_in_pages() -> None:
    net = VirtualNetwork.immediate(offers=OfferConfig(find_limit=10, max_pages=8))
    a, *others = net.mesh(6)
    offers = [sign_offer(identity(100 + n), terms(n), net.now) for n in range(57)]
    for node in others:
        for offer in offers:
            node.offers.store.add(offer, net.now)
    assert sorted(find(net, a), key=price_order) == offers  # in which order they are told: test_mixing.py
    assert sum(len(node.served) for node in others) == 5 + 3 * 5  # the lookup, and five pages of three peers


def test_a_peer_that_fails_at_its_pages_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    net = VirtualNetwork.immediate(offers=OfferConfig(find_limit=10))
    a, *others = net.mesh(6)
    offers = [sign_offer(identity(100 + n), terms(n), net.now) for n in range(25)]
    for node in others:
        for offer in offers:
            node.offers.store.add(offer, net.now)
    for node in others[:-1]:
        monkeypatch.setattr(node, "answer", partial(first_page_alone, node))
    assert sorted(find(net, a), key=price_order) == offers  # in which order they are told: test_mixing.py


def first_page_alone(
    node: VirtualNode, sender: PeerId, protocol: str, payload: bytes, now: float
) -> bytes | None:
    if b"\x20\x0a" in payload[-2:]:
        raise PeerFault("no more of it")
    return node.respond(sender, protocol, payload, now)


def test_versions_held_here_that_are_over_hide_older_ones_and_are_not_told() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    long = sign_offer(identity(50), terms(1), net.now)
    short = sign_offer(identity(50), terms(2), net.now + 1, lifetime_s=5)
    a.offers.store.add(long, net.now)
    a.offers.store.add(short, net.now)
    b.offers.store.add(long, net.now)
    net.rest(6)
    assert found(net, a) == ([], ())


def test_what_one_lookup_gathers_is_bounded() -> None:
    net = VirtualNetwork.immediate(offers=OfferConfig(max_found=12))
    a, b = net.mesh(2)
    for n in range(30):
        b.offers.store.add(sign_offer(identity(100 + n), terms(n), net.now), net.now)
    assert len(find(net, a)) == 12


def test_a_quorum_missed_is_reported_and_made_up_for() -> None:
    net = VirtualNetwork.immediate()
    a, *others = net.mesh(4)
    config = a.offers.config
    blocked = others[1:]
    announcement = a.offers.register(terms(), net.now)
    for node in blocked:  # answer the lookup, refuse to store
        node.offers.store._budget._config = replace(config, max_offers=0)
    outcome = outcome_of(a.run_announcement(announcement).result)
    assert outcome == Outcome(1, 3, 2)
    assert not outcome.is_reached
    for node in blocked:
        node.offers.store._budget._config = config
    assert announce_due(net, a, net.now + config.retry_first_s) == [Outcome(3, 3, 2)]


def announce_due(net: VirtualNetwork, node: VirtualNode, until: float) -> list[Outcome]:
    """What the node announces by itself until then."""
    before = len(node.ended("PutJob"))
    net.move_to(until)
    return [outcome_of(event.result) for event in node.ended("PutJob")[before:]]


def test_what_was_registered_alone_spreads_when_others_join() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = (net.add() for _ in range(3))
    register(net, a)
    net.acquaint(a, b, c)
    due = a.offers.next_timer()
    assert due is not None
    assert due <= net.now + a.offers.config.settle_s
    assert announce_due(net, a, due) == [Outcome(2, 2, 2)]
    a.state = State.DOWN
    assert found_prices(net, c) == [5]


def test_an_offer_is_alive_for_days_while_its_holder_is_and_not_after() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    a, b, c = net.mesh(3)
    register(net, a)
    config = a.offers.config
    for _ in range(6):
        when = a.offers.own.next_timer()
        assert when is not None
        assert announce_due(net, a, when - 1.0) == []  # whatever else may be due
        assert announce_due(net, a, when) == [Outcome(2, 2, 2)]
        for node in (b, c):
            assert found_prices(net, node) == [5]
    assert net.now - START > 5 * config.announce_interval_s
    a.state = State.DOWN
    net.rest(config.lifetime_s + 1)
    assert found_prices(net, c) == []


def test_an_announcement_that_was_overtaken_counts_as_stored() -> None:
    net = VirtualNetwork.immediate()
    a, *_ = net.mesh(3)
    first = a.offers.register(terms(5), net.now)
    second = a.offers.register(terms(6), net.now)
    a.run_announcement(second)
    assert outcome_of(a.run_announcement(first).result) == Outcome(2, 2, 2)


def test_a_storer_that_holds_a_version_we_never_made_in_this_life_does_not_acknowledge() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    ahead = sign_offer(a.identity, terms(1), net.now + 500)
    for node in (b, c):
        node.offers.store.add(ahead, net.now)
    assert register(net, a, 2) == Outcome(0, 2, 2)


def test_a_find_ends_at_its_deadline_and_when_cancelled() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    register(net, a)
    b.state = State.SILENT
    before = net.now
    result = a.run_job(a.offers.find(CONTENT, timeout_s=0.25))
    assert net.now == before + 0.25
    assert isinstance(result, tuple)
    assert len(result) == 1
    job_id = a.start_job(a.offers.find(CONTENT))
    net.settle()
    assert job_id not in a.finished
    a.cancel(job_id)
    assert a.finished[job_id].result == result


def test_a_peer_that_answers_garbage_does_not_spoil_the_lookup() -> None:
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    register(net, b)
    c.answer = lambda sender, protocol, payload, now: b"\xff\xff"
    a.offers.store.handle_timer(net.now + 10**6)
    assert found_prices(net, a) == [5]


def test_storers_not_found_for_lack_of_time_are_no_quorum() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(job_timeout_s=2.0))
    a, b = net.mesh(2)
    b.state = State.SILENT
    outcome = register(net, a)
    assert outcome == Outcome(0, 0, 1)
    assert not outcome.is_reached


def test_known_nodes_that_are_all_silent_are_no_quorum() -> None:
    """Nobody there is one thing; somebody there who does not answer is another."""
    net = VirtualNetwork.immediate()
    a, b, c = net.mesh(3)
    b.state = c.state = State.SILENT
    outcome = register(net, a)
    assert outcome == Outcome(0, 0, 1)
