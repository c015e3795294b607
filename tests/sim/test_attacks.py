"""Whether the attacks are what they say they are; how the node stands them is for the scenarios."""

from __future__ import annotations

from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.native.sha256 import sha256
from fastmarket.sim.addresses import HOLDERS, AddressPlan, tcp_addr
from fastmarket.sim.attacks import PLACED, PLACED_BLOCKS, targeted
from fastmarket.sim.hostile import Conspiracy, ids_near
from fastmarket.sim.network import Rules
from fastmarket.sim.population import Population, synthetic_raw_id
from fastmarket.sim.world import Plan, World
from tests.reference.xor import distance

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


def test_a_targeted_key_is_surrounded_by_few_address_blocks() -> None:
    outcome = targeted(PLAN)
    share = outcome.sections["attack"]["hostile_share_of_k_closest"]
    assert share is not None
    assert share > 0.9
    population = outcome.worlds[0].population
    assert len(population) == PLAN.nodes + PLAN.offers * PLACED
    groups = [ip_group(info) for info in population.infos]
    assert len(set(groups[PLAN.nodes : PLAN.nodes + PLACED])) == PLACED_BLOCKS
    assert not set(groups[: PLAN.nodes]) & set(groups[PLAN.nodes :])


def test_addresses_are_public_and_concentrated_as_measured() -> None:
    addresses = AddressPlan(Random(1))
    peer_id = Population.generate(1, 0, 1, KadConfig()).infos[0].peer_id
    groups = [ip_group(PeerInfo(peer_id, (tcp_addr(addresses.draw()),))) for _ in range(20_000)]
    assert None not in groups
    assert 0.99 < sum(holders.share for holders in HOLDERS) < 1.01
    assert 0.5 * 10_715 < len(set(groups)) <= 10_715 == sum(holders.blocks for holders in HOLDERS)
