"""Commands of a whole node in virtual time: each finishes once, and nothing of it is left."""

from __future__ import annotations

from math import inf

from fastmarket.core import commands as c
from fastmarket.core.events import Finished
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
        network.run(lambda: all(one in node.finished for one in operations))
    assert all("the disk has not taken it" in str(node.finished[one].fault) for one in operations)
    assert node.core.operation_count == node.core.awaiting_count == 0
    check_each_finished_once(node, operations)
