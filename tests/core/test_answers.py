"""What a whole node answers, out of its caches and to peers that know no offers; faults in that are found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.core import commands as c
from fastmarket.core.answers import OfferHolders
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.providers.find_providers import FindProvidersResult
from fastmarket.kad.wire.response_cache import ResponseCaches
from tests.core.test_crashes import CONFIG, TIMEOUT_S, content, terms
from tests.virtual import VirtualNetwork, VirtualNode


def register(node: VirtualNode, number: int, price: int) -> Outcome:
    outcome = node.run(c.Register(terms(number, price), TIMEOUT_S)).outcome
    assert outcome is not None
    return outcome


def prices(node: VirtualNode, number: int) -> list[int]:
    result = node.run(c.FindOffers(content(number), TIMEOUT_S)).result
    assert isinstance(result, c.OffersFound)
    assert result.is_complete
    return [offer.price_per_mb for offer in result.offers]


def client_of(network: VirtualNetwork, seed: VirtualNode) -> VirtualNode:
    """A node that stores nothing for others: what it finds, others have answered."""
    client = network.add(replace(CONFIG, server_mode=False))
    network.join(client, seed)
    return client


def check_new_price() -> None:
    network = VirtualNetwork(config=CONFIG)
    holder, *others = network.grow(5)
    client = client_of(network, others[0])
    assert register(holder, 1, 5).is_reached
    for _ in range(3):  # the second and third are answered out of the caches
        assert prices(client, 1) == [5]
    assert register(holder, 1, 3).is_reached
    network.rest(1.0)
    assert prices(client, 1) == [3]
    assert holder.run(c.Withdraw(content(1), b"u", TIMEOUT_S)).fault is None
    assert prices(client, 1) == []


def check_provider() -> None:
    network = VirtualNetwork(config=CONFIG)
    holder, *others = network.grow(4)
    client = client_of(network, others[0])
    assert register(holder, 1, 5).is_reached
    network.rest(1.0)
    for _ in range(2):
        result = client.run(c.FindProviders(content(1), None, TIMEOUT_S)).result
        assert isinstance(result, FindProvidersResult)
        found = {peer.peer_id: peer.addrs for peer in result.providers}
        assert found == {holder.info.peer_id: holder.info.addrs}


def test_a_new_price_and_a_withdrawal_are_seen_at_once() -> None:
    check_new_price()


def test_a_forgotten_invalidation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResponseCaches, "invalidate", lambda self, source: None)
    with pytest.raises(AssertionError):
        check_new_price()


def test_holders_are_providers_to_peers_that_know_no_offers() -> None:
    check_provider()


def test_a_missing_provider_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfferHolders, "holders", lambda self, key, now: ((), float("inf")))
    with pytest.raises(AssertionError):
        check_provider()


def test_registrations_at_once_share_their_work() -> None:
    network = VirtualNetwork(config=CONFIG)
    holder, *_ = network.grow(5)
    network.rest(5.0)
    before = holder.action_count
    operations = [holder.start(c.Register(terms(number, 5), TIMEOUT_S)) for number in range(32)]
    network.run(lambda: all(one in holder.finished for one in operations))
    assert all((outcome := holder.finished[one].outcome) and outcome.is_reached for one in operations)
    alone = VirtualNetwork(config=CONFIG)
    single, *_ = alone.grow(5)
    alone.rest(5.0)
    begun = single.action_count
    register(single, 1, 5)
    assert holder.action_count - before < 32 * (single.action_count - begun) / 2
