"""Who counts as closest, and what is learnt of the network's size."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fastmarket.config import KadConfig
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.native.candidates import Closest

CONFIG = replace(KadConfig(), k=4, max_group_in_bucket=2)


def taken(groups: list[bytes | None]) -> list[int]:
    chosen, found = Closest(CONFIG.k, CONFIG.max_group_in_bucket), []
    for number, group in enumerate(groups):
        if chosen.is_full:
            break
        if chosen.wants(group):
            chosen.take(group)
            found.append(number)
    return found


def test_without_a_crowd_it_is_the_nearest_k() -> None:
    assert taken([b"a", b"b", b"a", b"c", b"d"]) == [0, 1, 2, 3]
    assert taken([None] * 9) == [0, 1, 2, 3]


def test_a_crowd_among_them_does_not_count() -> None:
    # The nearest four are wanted whoever they are, and then four that are no crowd.
    assert taken([b"x"] * 8 + [b"a", b"b", None, b"c", b"d"]) == [0, 1, 2, 3, 8, 9, 10, 11]
    # Three of one block are a crowd, two are none.
    assert taken([b"x", b"x", b"x", b"a", b"b", b"c", b"d"]) == [0, 1, 2, 3, 4, 5, 6]


def test_who_is_not_taken_does_not_count() -> None:
    chosen = Closest(CONFIG.k, CONFIG.max_group_in_bucket)
    assert chosen.wants(b"a")  # but it failed
    for group in (b"b", b"c", b"d", b"e"):
        assert not chosen.is_full
        chosen.take(group)
    assert chosen.is_full


@pytest.mark.parametrize("nodes", [200, 10_000])
def test_the_size_is_learnt_from_lookups(nodes: int) -> None:
    rng = random.Random(nodes)
    keys = [rng.randbytes(32) for _ in range(nodes)]
    config = KadConfig()
    size = NetworkSize(config)
    assert size.estimate is None
    assert size.radius is None
    for _ in range(config.size_samples):
        target = rng.randbytes(32)
        distance = {key: int.from_bytes(key, "big") ^ int.from_bytes(target, "big") for key in keys}
        size.learn(target, sorted(keys, key=distance.__getitem__)[: config.k])
    assert size.estimate is not None
    assert nodes / 1.3 < size.estimate < nodes * 1.3


def test_of_few_nodes_the_number_is_known() -> None:
    size = NetworkSize(KadConfig())
    size.learn(bytes(32), [])
    assert size.estimate is None
    size.learn(bytes(32), [bytes([n]) * 32 for n in range(1, 8)])
    assert size.estimate == 7
    assert size.radius is not None
    assert size.radius > 1 << 256  # everybody is near enough


def test_one_crowded_lookup_changes_little() -> None:
    rng, config = random.Random(1), replace(KadConfig(), k=2)
    size = NetworkSize(config)
    for _ in range(5):
        size.learn(bytes(32), [b"\x01" + rng.randbytes(31), b"\x02" + bytes(31)])
    before = size.estimate
    size.learn(bytes(32), [bytes(30) + b"\x01\x00", bytes(30) + b"\x02\x00"])  # ids made up next to the key
    assert size.estimate == before
