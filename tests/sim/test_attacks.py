"""Whether the attacks are what they say they are; how the node stands them is for the scenarios."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fastmarket.config import KadConfig
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.native.sha256 import sha256
from fastmarket.sim import attacks, floods
from fastmarket.sim.addresses import HOLDERS, AddressPlan, tcp_addr
from fastmarket.sim.attacks import (
    WITHOUT,
    Attack,
    active_sybil,
    passive_eclipse,
    region_store,
    targeted,
)
from fastmarket.sim.floods import price_flood, store_flood
from fastmarket.sim.hostile import Conspiracy, ids_near, spread_by_prefix
from fastmarket.sim.network import Rules
from fastmarket.sim.population import Population, synthetic_raw_id
from fastmarket.sim.world import Plan, World
from tests.reference.xor import distance

LIVE = Plan(nodes=300, signers=4, lookups=0, offers=2, finds=20, rules=Rules(seed=3))
PLAN = Plan(nodes=250, signers=10, lookups=60, offers=10, finds=60, rules=Rules(seed=3))


def test_hostile_nodes_say_stored_and_drop_it() -> None:
    world = World(PLAN)
    members = set(range(PLAN.signers, PLAN.nodes, 4))
    Conspiracy(world.network, members)
    stored = world.publish(10)
    holders = [
        node.number
        for node in world.network.nodes.values()
        if node.number >= PLAN.signers
        for content in world.contents
        if any(node.core.offers.store.held(content))
    ]
    assert not members & set(holders)
    # Beside a fifth fewer, as many as were stored at eagerly and are not among the closest after all.
    assert len(holders) < 0.95 * sum(stored.copies)


def test_ids_are_placed_closest_to_each_target() -> None:
    targets = [sha256(b"target %d" % number) for number in range(4)]
    tried, random = 5000, Random(1)
    placed = ids_near(targets, 10, tried, Random(1))
    keys = [sha256(synthetic_raw_id(random)) for _ in range(tried)]
    for target, ids in zip(targets, placed, strict=True):
        wanted = sorted(keys, key=lambda key: distance(target, key))[:10]
        assert [peer_id.key for peer_id in ids] == wanted
    both = ids_near([targets[0], targets[0]], 10, tried, Random(1))
    assert not set(both[0]) & set(both[1])


def test_a_targeted_key_is_surrounded_by_few_address_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "TARGETED", (Attack(60, 6),))
    outcome = targeted(LIVE)
    share = outcome.sections["attack, 60 ids, 6 blocks"]["hostile_share_of_k_closest"]
    assert share is not None
    assert share > 0.9
    population = outcome.worlds[0].population
    assert len(population) == LIVE.nodes + LIVE.offers * 60
    groups = [ip_group(info) for info in population.infos]
    assert len(set(groups[LIVE.nodes : LIVE.nodes + 60])) == 6
    assert not set(groups[: LIVE.nodes]) & set(groups[LIVE.nodes :])
    assert all(mark.is_met for mark in outcome.marks), outcome.marks


def test_ids_that_no_count_shows_are_spread_over_the_prefixes() -> None:
    target, random = sha256(b"target"), Random(1)
    (near,) = ids_near([target], 1000, 400_000, random)
    chosen = spread_by_prefix(target, near, 60, 10)
    assert len(set(chosen)) == 60
    common = [256 - (int.from_bytes(distance(target, one.key), "big")).bit_length() for one in chosen]
    assert min(common) == 10
    assert [common.count(bits) for bits in (10, 11, 12)] == [30, 15, 7]


def test_ids_of_as_many_blocks_eclipse_a_key_without_the_region_and_not_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attacks, "ECLIPSES", (Attack(45, 45),))
    outcome = passive_eclipse(LIVE)
    before = outcome.sections["finds, 45 ids, 45 blocks, without the region"]["success"]
    after = outcome.sections["finds, 45 ids, 45 blocks"]["success"]
    assert before is not None
    assert before < 0.9
    assert after == 1.0
    assert WITHOUT["region_reach"] != LIVE.rules.kad.region_reach


def test_false_sellers_hide_no_honest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "SYBILS", (Attack(30, 30, 3, sells=True),))
    monkeypatch.setattr(attacks, "FALSE_KEYS", 60)
    outcome = active_sybil(LIVE)
    finds = outcome.sections["finds, 30 ids, 30 blocks"]
    assert finds["offers_mean"] is not None
    assert finds["offers_mean"] > 30, "the false ones are named"
    assert all(mark.is_met for mark in outcome.marks), outcome.marks


def test_the_region_costs_little_where_none_attacks() -> None:
    outcome = region_store(replace(LIVE, offers=10, finds=20))
    assert all(mark.is_met for mark in outcome.marks), outcome.marks
    region, closest = (outcome.sections[f"stores, {name}"]["copies_mean"] for name in ("region", "k closest"))
    assert region is not None
    assert closest is not None
    assert closest <= region < 1.3 * closest


def test_a_flooded_store_takes_honest_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floods, "SCALE", 800)
    monkeypatch.setattr(floods, "MANY_SENDERS", 20)
    outcome = store_flood(replace(LIVE, offers=5, finds=10))
    assert all(mark.is_met for mark in outcome.marks), outcome.marks
    flood = outcome.sections["flood, 2 identities"]
    assert flood["offers"] == 20 * 500


def test_a_shelf_full_of_free_offers_takes_another_seller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floods, "SHELF_KEYS", 96)
    monkeypatch.setattr(floods, "SHELF_SENDERS", 12)
    monkeypatch.setattr(floods, "SHELF_BLOCKS", (6,))
    rules = replace(LIVE.rules, offers=replace(LIVE.rules.offers, max_offers_per_content=48))
    outcome = price_flood(replace(LIVE, finds=10, rules=rules))
    assert all(mark.is_met for mark in outcome.marks), outcome.marks


def test_addresses_are_public_and_concentrated_as_measured() -> None:
    addresses = AddressPlan(Random(1))
    peer_id = Population.generate(1, 0, 1, KadConfig()).infos[0].peer_id
    groups = [ip_group(PeerInfo(peer_id, (tcp_addr(addresses.draw()),))) for _ in range(20_000)]
    assert None not in groups
    assert 0.99 < sum(holders.share for holders in HOLDERS) < 1.01
    assert 0.5 * 10_715 < len(set(groups)) <= 10_715 == sum(holders.blocks for holders in HOLDERS)
