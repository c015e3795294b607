"""The market's promises about time and counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fastmarket.config import FetchConfig, MarketConfig
from fastmarket.errors import Busy, ConnectionLost, NodeFault, QuorumFailed, RequestTimeout
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import HolderTally
from fastmarket.formats.identity import PeerId
from fastmarket.kad.outcome import Outcome
from fastmarket.market.service import MarketService
from fastmarket.offers.model.offer import Offer, sign_offer
from tests.virtual import CONTENT, START, State, VirtualNetwork, VirtualNode, identity, terms
from tests.virtual.dht import VirtualDht

# A busy machine takes its time: the margin is for it.
QUICK = MarketConfig(find_budget_s=0.05, register_budget_s=0.05, closest_budget_s=0.05, reply_margin_s=10.0)
# For what never comes back.
HASTY = replace(QUICK, reply_margin_s=0.02)


def market(count: int = 3, config: MarketConfig = QUICK) -> tuple[VirtualNetwork, VirtualDht, MarketService]:
    net = VirtualNetwork.immediate()
    nodes = net.mesh(count)
    dht = VirtualDht(nodes[0])
    return net, dht, MarketService(dht, config, now=lambda: net.now)


def test_register_and_find(run: Any) -> None:
    net, dht, service = market()
    assert run(service.register(terms(9))) == Outcome(2, 2, 2)
    assert run(service.register(terms(9))) == Outcome(2, 2, 2)
    cheap = sign_offer(identity(60), terms(1), net.now)
    dht.offers.store.add(cheap, net.now)
    found = run(service.find(CONTENT))
    assert [offer.price_per_mb for offer in found] == [1, 9]
    assert run(service.find(b"\x12\x20" + bytes(32))) == []


def test_a_holder_that_failed_a_probe_comes_last_and_one_that_delivered_in_front(run: Any) -> None:
    net, dht, _ = market()
    history = HolderHistory(FetchConfig())
    service = MarketService(dht, now=lambda: net.now, history=history)
    offers = [sign_offer(identity(60 + price), terms(price), START) for price in range(20)]

    async def found(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Offer]:
        for offer in offers:
            yield offer

    dht.find_offers = found  # type: ignore[method-assign]
    assert run(service.find(CONTENT))[0] is offers[0]
    history.on_probe(offers[0].provider.raw, net.now, silent=True)
    delivered = HolderTally(1, 0, 50_000_000, 0, 200, 0, 0, 0, 1e6, 0.02, 0, None)
    history.record(offers[19].provider.raw, delivered, net.now)
    ordered = run(service.find(CONTENT))
    assert ordered[-1] is offers[0]
    assert ordered[0] is offers[1]
    assert offers[19] in ordered[:10]
    assert len(ordered) == 20


def test_find_answers_with_what_came_when_others_hang(run: Any) -> None:
    net, _, service = market()
    run(service.register(terms(9)))
    for node in list(net.nodes.values())[1:]:
        node.state = State.SILENT
    assert [offer.price_per_mb for offer in run(service.find(CONTENT), 1.0)] == [9]


def test_a_lookup_that_will_not_be_cancelled_does_not_hold_the_answer(run: Any) -> None:
    _, dht, service = market(config=HASTY)
    offer = sign_offer(identity(60), terms(1), START)

    async def stubborn(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Offer]:
        yield offer
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    dht.find_offers = stubborn  # type: ignore[method-assign]

    async def main() -> list[Offer]:
        found = await service.find(CONTENT)
        await service.close()
        await service.close()
        await service.close()
        return found

    assert run(main(), 1.0) == [offer]


def test_the_latest_version_counts_and_a_tombstone_hides(run: Any) -> None:
    _, dht, service = market()
    first = sign_offer(identity(60), terms(1), START)
    dearer = sign_offer(identity(60), terms(8), START, previous=first)
    other = sign_offer(identity(61), terms(2), START)
    gone = sign_offer(identity(61), terms(2), START, previous=other, withdrawn=True)
    old = sign_offer(identity(62), terms(3), START - 40 * 3600, lifetime_s=3600)

    async def versions(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Offer]:
        for offer in (dearer, first, other, gone, other, old):
            yield offer

    dht.find_offers = versions  # type: ignore[method-assign]
    assert run(service.find(CONTENT)) == [dearer]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [(ConnectionLost("gone"), None), (Busy("jobs", "full"), Busy), (NodeFault("x"), NodeFault)],
)
def test_a_network_in_trouble_keeps_nothing_back(
    run: Any, fault: Exception, raised: type[Exception] | None
) -> None:
    _, dht, service = market()
    offer = sign_offer(identity(60), terms(1), START)

    async def troubled(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Offer]:
        yield offer
        raise fault

    dht.find_offers = troubled  # type: ignore[method-assign]
    if raised is None:
        assert run(service.find(CONTENT)) == [offer]
    else:
        with pytest.raises(raised):
            run(service.find(CONTENT))


def test_a_caller_that_goes_away_ends_its_lookup(run: Any) -> None:
    net, dht, service = market(config=MarketConfig(find_budget_s=10))
    for node in list(net.nodes.values())[1:]:
        node.state = State.SILENT
    ended = asyncio.Event()

    async def watched(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Offer]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        yield sign_offer(identity(60), terms(1), START)

    dht.find_offers = watched  # type: ignore[method-assign]

    async def main() -> None:
        call = asyncio.create_task(service.find(CONTENT))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ended.wait()

    run(main(), 1.0)


def test_short_of_the_quorum_the_counts_are_told_and_the_offer_stays(run: Any) -> None:
    net, dht, service = market(5)
    others = list(net.nodes.values())[1:]
    for node in others[1:]:
        node.answer = partial(refuse_store, node)
    with pytest.raises(QuorumFailed) as caught:
        run(service.register(terms(9)))
    assert (caught.value.acknowledged, caught.value.asked, caught.value.wanted) == (1, 4, 3)
    assert len(dht.offers.own) == 1
    assert [offer.price_per_mb for offer in run(service.find(CONTENT))] == [9]


def refuse_store(
    node: VirtualNode, sender: PeerId, protocol: str, payload: bytes, now: float
) -> bytes | None:
    """Answers the lookup, hangs at the STORE."""
    if payload[:1] == b"\x0a":
        return None
    return node.respond(sender, protocol, payload, now)


def test_storers_unknown_at_the_deadline_are_no_quorum(run: Any) -> None:
    net, _, service = market()
    for node in list(net.nodes.values())[1:]:
        node.state = State.SILENT
    with pytest.raises(QuorumFailed) as caught:
        run(service.register(terms(9)))
    assert (caught.value.acknowledged, caught.value.asked, caught.value.wanted) == (0, 0, 1)


def test_a_network_that_does_not_keep_the_deadline_is_left(run: Any) -> None:
    _, dht, service = market(config=HASTY)

    async def hanging(*arguments: object) -> Any:
        await asyncio.Event().wait()

    dht.register_offer = hanging  # type: ignore[method-assign]
    dht.closest_peers = hanging  # type: ignore[method-assign]
    with pytest.raises(RequestTimeout):
        run(service.register(terms(9)))
    with pytest.raises(RequestTimeout):
        run(service.closest_peers(CONTENT), 1.0)


@pytest.mark.parametrize(
    ("ours", "callers", "budget"),
    [(0.8, None, 0.8), (0.8, 5.0, 0.8), (0.8, 0.5, 0.4), (10.0, 1.0, 0.9), (0.8, 0.1, 0.05)],
)
def test_the_callers_deadline_is_honoured(ours: float, callers: float | None, budget: float) -> None:
    _, _, service = market(config=MarketConfig())
    assert service._budget(ours, callers) == pytest.approx(budget)
