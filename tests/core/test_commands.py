"""Commands of a whole node in virtual time: each finishes once, and nothing of it is left."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest

from fastmarket.core import commands as c
from fastmarket.core.events import Event, Finished
from fastmarket.core.registrations import (
    Announcing,
    ManyRegistrations,
    PutOperation,
    Registration,
    RegistrationBatch,
)
from fastmarket.errors import Busy, NoSuchOffer
from fastmarket.kad.records.put_job import PutJob
from fastmarket.offers.announce.sweep import SweepJob
from fastmarket.offers.protocol import OfferProtocol
from tests.core.test_crashes import CONFIG, TIMEOUT_S, acknowledgements, content, terms
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
        operations.extend(node.start(c.Register(terms(number, price), TIMEOUT_S)) for number in range(8))
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


def test_what_was_refused_is_not_begun_later() -> None:
    """Slices that wait for others of a registration of which the disk takes none; a later one stands."""
    network, node = two()
    node.disk.fault = "full"
    count = 10 * CONFIG.offers.register_slice
    many = node.start(c.RegisterMany([terms(number, 5) for number in range(count)], TIMEOUT_S))
    network.run(lambda: many in node.finished)
    assert node.finished[many].fault is not None
    node.disk.fault = ""
    begun = {offer.content for offer in node.core.offers.own}
    assert len(begun) < count
    later = node.start(c.Register(terms(0, 9), TIMEOUT_S))
    network.run(lambda: later in node.finished)
    network.rest(TIMEOUT_S)
    assert {offer.content for offer in node.core.offers.own} == begun | {content(0)}
    assert node.core.offers.own.current((content(0), node.peer_id.raw, b"u")).price_per_mb == 9


BUGS = [
    (RegistrationBatch, "on_progress"),
    (RegistrationBatch, "on_result"),
    (Registration, "on_outcome"),
    (ManyRegistrations, "on_outcome"),
    (Announcing, "on_progress"),
    (PutOperation, "settle"),
    (Announcing, "report"),
    (Registration, "report"),
    (ManyRegistrations, "report"),
    (PutOperation, "on_persisted"),
    (OfferProtocol, "on_ended"),
    (OfferProtocol, "_sweep"),
    (SweepJob, "start"),
    (SweepJob, "poll_requests"),
    (SweepJob, "poll_events"),
    (PutJob, "start"),
    (PutJob, "poll_events"),
]


@pytest.mark.parametrize(("owner", "method"), BUGS, ids=lambda one: getattr(one, "__name__", one))
def test_bugs_end_commands_and_take_no_slot_with_them(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(VirtualNode, "deliver", deliver_in_spite_of_bugs)
    network, node = two()
    operations: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, broken)
        for number in range(2 * max(CONFIG.offers.max_gathering, CONFIG.offers.max_registering)):
            for command in (
                c.Register(terms(number, 5), TIMEOUT_S),
                c.Register(terms(100, 5), TIMEOUT_S),
                c.RegisterMany([terms(101, 5), terms(102, 5)], TIMEOUT_S),
                c.Withdraw(content(number), b"u", TIMEOUT_S),
            ):
                with suppress(RuntimeError, NoSuchOffer):
                    operations.append(node.start(command))
            network.rest(2 * TIMEOUT_S)
    check_each_finished_once(node, operations)
    assert node.core.operation_count == 0
    after = [node.start(c.Register(terms(200 + number, 5), TIMEOUT_S)) for number in range(2)]
    after.append(node.start(c.RegisterMany([terms(203, 5), terms(204, 5)], TIMEOUT_S)))
    network.run(lambda: all(one in node.finished for one in after))
    assert all(all(acknowledgements(node.finished[one], 1)) for one in after)


def deliver_in_spite_of_bugs(self: VirtualNode, event: Event) -> None:
    self.events.append(event)
    if isinstance(event, Finished):
        self.finished[event.operation] = event


def test_a_bug_elsewhere_keeps_no_caller_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(offers: OfferProtocol, now: float) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(VirtualNode, "deliver", deliver_in_spite_of_bugs)
    network, node = two()
    node.disk.takes_s = inf
    monkeypatch.setattr(OfferProtocol, "handle_timer", broken)
    monkeypatch.setattr(OfferProtocol, "next_timer", lambda offers: 0.0)  # due at once, again and again
    network.rest(0.1)
    begun = network.now
    assert "the disk has not taken it" in str(node.run(c.Register(terms(1, 5), 0.1)).fault)
    assert network.now - begun < 0.5  # a bug makes what it is in wait for a whole second


@pytest.mark.parametrize("max_jobs", [CONFIG.kad.max_jobs, 0])
def test_slices_that_take_no_time_are_signed_in_turns_of_their_own(max_jobs: int) -> None:
    """Alone, or without room for jobs, a node is done with a slice at once; others have turns in between."""
    node = VirtualNetwork(config=replace(CONFIG, kad=replace(CONFIG.kad, max_jobs=max_jobs))).add()
    size, many = CONFIG.offers.register_slice, [terms(number, 5) for number in range(20)]
    seen = [0]

    def look() -> bool:
        seen.append(len(node.core.offers.own))
        return operation in node.finished

    operation = node.start(c.RegisterMany(many, TIMEOUT_S))
    node.network.run(look)
    assert seen[-1] == len(many)
    assert max(after - before for before, after in pairwise(seen)) == size
