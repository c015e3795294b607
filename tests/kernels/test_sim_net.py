"""fastmarket.native.sim_net: whole simulated networks carried by it and by its twin."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from fastmarket.native.sim_net import MessageLog, Ways
from fastmarket.sim import conditions, network
from fastmarket.sim.conditions import Conditions
from fastmarket.sim.network import Network, Rules
from fastmarket.sim.node import Nature, NodeState
from fastmarket.sim.world import Plan, World
from tests.reference import sim_net as twin

NODES = 60


def loss(network: Network) -> None:
    """Its Conditions have it."""


def trouble(network: Network) -> None:
    """Some are silent, gone, slow, or clients; a partition comes, and heals later."""
    random, standing = Random(5), network.standing
    for number in random.sample(range(10, NODES), 20):
        kind = random.randrange(4)
        if kind == 0:
            standing.states[number] = random.choice((NodeState.SILENT, NodeState.DOWN))
        elif kind == 1:
            standing.slow.add(number)
        elif kind == 2:
            standing.natures[number] = Nature.CLIENT
        else:
            network.scheduler.after(random.random() * 5, network.remove, number)
    cut = {number: number % 2 for number in range(NODES)}
    network.scheduler.after(2.0, standing.sides.update, cut)
    network.scheduler.after(4.0, standing.sides.clear)


def story(share_lost: float, happen: Callable[[Network], None]) -> dict[str, object]:
    """What a network does in which nodes look up, publish and find, and then rest."""
    rules = Rules(conditions=Conditions(loss=share_lost))
    world = World(Plan(nodes=NODES, signers=8, rules=rules))
    world.look_up(10)
    happen(world.network)
    world.look_up(40)
    world.publish(8)
    world.find(20)
    world.rest(400.0)  # connections are idle by then, tables refreshed
    world.look_up(10)
    traffic = world.network.traffic
    return {
        "trace": world.network.trace_hash,
        "requests": traffic.requests,
        "replies": traffic.replies,
        "connections": traffic.connections,
        "wire": traffic.wire,
        "failures": traffic.failures,
    }


@pytest.mark.parametrize(("share_lost", "happen"), [(0.0, loss), (0.1, loss), (0.0, trouble)])
def test_a_network_does_what_it_does_with_the_twin(
    share_lost: float, happen: Callable[[Network], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = story(share_lost, happen)
    monkeypatch.setattr(network, "Carrier", twin.Carrier)
    monkeypatch.setattr(conditions, "Ways", twin.Ways)
    theirs = story(share_lost, happen)
    assert ours == theirs
    assert share_lost == 0.0 or ours["failures"]


def test_the_log_is_a_digest_of_its_records() -> None:
    ours, theirs, random = MessageLog(), twin.MessageLog(), Random(1)
    for number in range(10_000):  # more than goes into the digest at once
        what = random.choice("<>!")
        for log in (ours, theirs):
            log.note(number / 7, what, number, 0xFFFFFFFF - number, number << 40)
        if number % 999 == 0:
            assert ours.hexdigest() == theirs.hexdigest()
    assert ours.hexdigest() == theirs.hexdigest()


def test_what_is_no_region_is_refused() -> None:
    ways = Ways([[0.1, 0.2], [0.2, 0.1]], [0.0], lambda: 0.5)
    assert ways.one_way(0, 1) == 0.2
    for here, there in ((2, 0), (0, -1)):
        with pytest.raises(IndexError, match="region"):
            ways.one_way(here, there)
    with pytest.raises(ValueError, match="draw"):
        Ways([[0.1]], [0.0], lambda: 1.0).one_way(0, 0)
    with pytest.raises(ValueError, match="in a row"):
        Ways([[0.1, 0.2], [0.2]], [0.0], lambda: 0.5)
