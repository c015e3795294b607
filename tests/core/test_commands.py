"""Commands of a whole node in virtual time: each finishes once, and nothing of it is left."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from fastmarket.errors import Busy
from tests.core.test_crashes import CONFIG, TIMEOUT_S, content, terms
from tests.virtual import VirtualNetwork, VirtualNode


def two() -> tuple[VirtualNetwork, VirtualNode]:
    """A network, and one of its two nodes."""
    network = VirtualNetwork(config=CONFIG)
    _, node = network.grow(2)
    return network, node


def check_each_finished_once(node: VirtualNode, operations: list[int]) -> None:
    finished = [event.operation for event in node.events if isinstance(event, Finished)]
    assert sorted(one for one in finished if one in set(operations)) == sorted(operations)


def test_nothing_is_held_for_those_that_gave_up_on_a_disk_that_hangs() -> None:
    network, node = two()
    node.disk.takes_s = inf
    operations: list[int] = []
    for price in range(1, 5):
        operations += [node.start(c.Register(terms(number, price), TIMEOUT_S)) for number in range(8)]
        operations.append(node.start(c.RegisterMany([terms(n, price) for n in range(8, 20)], TIMEOUT_S)))
        operations.append(node.start(c.Withdraw(content(0), b"u", TIMEOUT_S)))
        network.run(lambda begun=operations: all(one in node.finished for one in begun))
    assert all("the disk has not taken it" in str(node.finished[one].fault) for one in operations)
    assert node.core.operation_count == node.core.awaiting_count == 0
    check_each_finished_once(node, operations)


def test_many_for_which_there_is_no_room_in_the_end_are_not_registered_half() -> None:
    """Two that fit one by one, and not together: what the caller is told was refused is not announced."""
    config = replace(CONFIG, offers=replace(CONFIG.offers, max_own_offers=12, register_slice=8))
    network = VirtualNetwork(config=config)
    _, node = network.grow(2)
    first = node.start(c.RegisterMany([terms(number, 5) for number in range(8)], TIMEOUT_S))
    assert len(node.core.offers.own) == 8
    two, four = ([terms(number, 5) for number in part] for part in (range(8, 10), range(20, 24)))
    second = node.core.start(c.RegisterMany(two, TIMEOUT_S), network.now)
    third = node.core.start(c.RegisterMany(four, TIMEOUT_S), network.now)
    node.turn()
    network.run(lambda: all(one in node.finished for one in (first, second, third)))
    assert node.finished[first].fault is node.finished[second].fault is None
    assert isinstance(node.finished[third].fault, Busy)
    assert len(node.core.offers.own) == 10
