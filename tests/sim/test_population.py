"""The global table builder against brute force."""

from __future__ import annotations

from random import Random

from fastmarket._xor import common_prefix_length
from fastmarket.config import KadConfig
from fastmarket.native.sha256 import sha256
from fastmarket.sim.population import Population
from tests.reference.xor import distance

NODES = 400
CONFIG = KadConfig()
POPULATION = Population.generate(NODES, 3, 7, CONFIG)
KEYS = [info.peer_id.key for info in POPULATION.infos]


def test_the_closest_are_those_of_a_full_sort() -> None:
    for number in range(100):
        target = sha256(b"target %d" % number)
        wanted = sorted(range(NODES), key=lambda n: distance(target, KEYS[n]))
        assert POPULATION.servers.closest(target, 20, lambda n: True) == wanted[:20]
        odd = [n for n in wanted if n % 2]
        assert POPULATION.servers.closest(target, 20, lambda n: n % 2 == 1) == odd[:20]


def test_buckets_hold_all_there_are_or_k_of_them() -> None:
    for number in range(0, NODES, 7):
        there: dict[int, set[int]] = {}
        for other in range(NODES):
            if other != number:
                there.setdefault(common_prefix_length(KEYS[number], KEYS[other]), set()).add(other)
        filled = [list(bucket) for bucket in POPULATION.buckets(number, 20, Random(1))]
        assert len(filled) == len(there)
        for bucket in filled:
            prefix = common_prefix_length(KEYS[number], KEYS[bucket[0]])
            assert len(set(bucket)) == len(bucket) == min(20, len(there[prefix]))
            assert set(bucket) <= there[prefix]


def test_a_node_that_is_not_listed_gets_a_table_of_those_that_are() -> None:
    population = Population.generate(NODES, 0, 8, CONFIG)
    population.list_servers(range(0, NODES, 2))
    for number in (1, 2):
        held = {peer for bucket in population.buckets(number, 20, Random(1)) for peer in bucket}
        assert held
        assert not any(peer % 2 for peer in held)
        assert number not in held


def test_signers_have_keys_and_the_others_ids_of_the_same_form() -> None:
    assert POPULATION.identity(0).sign(b"x")
    assert POPULATION.identity(0).peer_id == POPULATION.infos[0].peer_id
    for info in POPULATION.infos:
        key = info.peer_id.public_key()
        assert key is not None
        assert info.peer_id.raw in POPULATION.numbers
    assert len({info.addrs[0].raw for info in POPULATION.infos}) == NODES
