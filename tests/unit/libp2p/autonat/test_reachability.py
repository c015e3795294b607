"""The judgement of our addresses, in virtual time: servers that answer, lie, lose packets, and are few."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from itertools import pairwise
from math import inf
from random import Random

import pytest

from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.autonat.client import DialOutcome, Verdict
from fastmarket.libp2p.autonat.reachability import (
    ASKS_AT_ONCE,
    ASKS_PER_MINUTE,
    BACKOFF_S,
    CONFIRMATIONS,
    COSTLY_RECHECK_S,
    FORGET_S,
    HOLD_S,
    MAX_RUNNING,
    SERVER_PAUSE_S,
    AddressProbe,
    Reachability,
    ReachabilityTracker,
    Server,
)

START = 1_000.0
UNREACHED_S = 10.0  # go-libp2p gives up on a dial after that
REACHED_S = 0.2
A = Multiaddr.from_text("/ip4/5.6.7.8/tcp/4001")
B = Multiaddr.from_text("/ip4/5.6.7.8/tcp/4002")
V6 = Multiaddr.from_text("/ip6/2a00::1/tcp/4001")
REACHABLE, UNREACHABLE, UNKNOWN = Reachability.REACHABLE, Reachability.UNREACHABLE, Reachability.UNKNOWN


def peer(number: int) -> PeerId:
    return Identity.from_seed(hashlib.sha256(b"server %d" % number).digest()).peer_id


PEERS = [peer(number) for number in range(32)]


def servers(count: int, groups: int | None = None, version: int = 4) -> list[Server]:
    return [Server(PEERS[n], n % (groups or count), version) for n in range(count)]


Answer = Callable[[AddressProbe, float], DialOutcome]


class World:
    """A tracker, and servers that answer as `answer(ask, now)` says."""

    def __init__(self, answer: Answer) -> None:
        self.tracker = ReachabilityTracker()
        self.answer = answer
        self.now = START
        self.asked: list[tuple[float, AddressProbe]] = []
        self.seen: list[tuple[float, Reachability]] = []
        self._ends: list[tuple[float, int, AddressProbe, DialOutcome]] = []

    def run(self, seconds: float) -> None:
        """Lets time pass; an unsuccessful dial takes its time-out."""
        until, turns = self.now + seconds, 0
        while True:
            self._poll()
            when = min(self.tracker.next_timer(), self._ends[0][0] if self._ends else inf)
            if when > until:
                self.now = until
                return
            turns += 1
            assert turns < 20 * seconds + 1000, "turns in vain"
            self.now = max(self.now, when)
            while self._ends and self._ends[0][0] <= self.now:
                _, _, ask, outcome = heapq.heappop(self._ends)
                self.tracker.on_verdict(ask, Verdict(outcome, ask.addrs[0]), self.now)

    def _poll(self) -> None:
        for ask in self.tracker.poll_probes(self.now):
            outcome = self.answer(ask, self.now)
            takes = REACHED_S if outcome is DialOutcome.REACHED else UNREACHED_S
            heapq.heappush(self._ends, (self.now + takes, len(self.asked), ask, outcome))
            self.asked.append((self.now, ask))
        assert len(self._ends) <= MAX_RUNNING
        if not self.seen or self.seen[-1][1] is not self.tracker.overall:
            self.seen.append((self.now, self.tracker.overall))

    def state(self, addr: Multiaddr = A) -> Reachability:
        return self.tracker.states()[addr]


def always(outcome: DialOutcome) -> Answer:
    return lambda ask, now: outcome


@pytest.mark.parametrize(
    ("outcome", "state"), [(DialOutcome.REACHED, REACHABLE), (DialOutcome.NOT_REACHED, UNREACHABLE)]
)
def test_four_blocks_that_agree_decide_within_seconds(outcome: DialOutcome, state: Reachability) -> None:
    world = World(always(outcome))
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([A], START)
    world.run(UNREACHED_S + 1.0)
    assert world.state() is world.tracker.overall is state
    assert world.tracker.withheld(world.now) == ({A} if state is UNREACHABLE else set())


def test_many_servers_of_three_blocks_decide_nothing_and_are_asked_seldom() -> None:
    world = World(always(DialOutcome.REACHED))
    world.tracker.set_servers(servers(30, groups=3))
    world.tracker.set_candidates([A], START)
    world.run(600.0)
    assert world.state() is UNKNOWN
    assert world.tracker.is_short_of_servers
    assert world.tracker.withheld(world.now) == frozenset()  # announced as without any of this
    assert len(world.asked) < 50


def test_without_servers_nothing_is_done_and_nothing_withheld() -> None:
    world = World(always(DialOutcome.REACHED))
    world.tracker.set_candidates([A], START)
    world.run(600.0)
    assert world.asked == []
    assert world.tracker.next_timer() == inf
    assert world.tracker.withheld(world.now) == frozenset()


def test_each_address_is_judged_by_itself() -> None:
    world = World(lambda ask, now: DialOutcome.REACHED if ask.addrs[0] == A else DialOutcome.NOT_REACHED)
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([A, B], START)
    world.run(60.0)
    assert (world.state(A), world.state(B)) == (REACHABLE, UNREACHABLE)
    assert world.tracker.withheld(world.now) == {B}
    assert world.tracker.overall is REACHABLE


def test_a_new_address_is_held_back_only_while_it_can_be_judged() -> None:
    world = World(always(DialOutcome.NOTHING))
    world.tracker.set_servers(servers(CONFIRMATIONS))
    world.tracker.set_candidates([A], START)
    assert world.tracker.withheld(START) == {A}
    world.run(HOLD_S + 1.0)
    assert world.tracker.withheld(world.now) == frozenset()
    assert world.state() is UNKNOWN


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("count", [4, 5, 12])
def test_a_change_is_known_within_a_minute(opens: bool, count: int) -> None:
    """With go-libp2p's time-out of 10 s, and even with no more than four servers."""
    for at in range(0, 60, 7):
        turn = START + 300.0 + at
        world = World(
            lambda ask, now, turn=turn: (  # type: ignore[misc]
                DialOutcome.REACHED if (now >= turn) is opens else DialOutcome.NOT_REACHED
            )
        )
        world.tracker.set_servers(servers(count))
        world.tracker.set_candidates([A], START)
        world.run(turn - START)
        assert world.state() is (UNREACHABLE if opens else REACHABLE)
        world.run(60.0)
        assert world.state() is (REACHABLE if opens else UNREACHABLE), at


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("count", [4, 5, 8, 20])
def test_one_lost_dial_in_twenty_turns_nothing_for_hours(count: int, seed: int) -> None:
    """Far more than one lost packet in twenty makes, of which the kernel sends each again. (The other way
    round nothing is ever lost: an unreachable address gets no nonce.)"""
    random = Random(seed)
    world = World(lambda ask, now: DialOutcome.NOT_REACHED if random.random() < 0.05 else DialOutcome.REACHED)
    world.tracker.set_servers(servers(count))
    world.tracker.set_candidates([A], START)
    world.run(10 * 3600.0)
    assert [seen for _, seen in world.seen] == [UNKNOWN, REACHABLE]
    assert world.tracker.changes == 1


def test_a_server_that_lies_turns_nothing_however_many_ids_it_has() -> None:
    def answer(ask: AddressProbe, now: float) -> DialOutcome:
        return DialOutcome.NOT_REACHED if ask.server.group == 0 else DialOutcome.REACHED

    world = World(answer)
    liars = [Server(one, 0, 4) for one in PEERS[:20]]
    world.tracker.set_servers([*liars, *(Server(one, n, 4) for n, one in enumerate(PEERS[20:26], 1))])
    world.tracker.set_candidates([A], START)
    world.run(3600.0)
    assert world.state() is REACHABLE
    assert world.tracker.changes == 1


def test_servers_are_asked_no_more_often_than_they_answer() -> None:
    world = World(always(DialOutcome.NOTHING))
    world.tracker.set_servers(servers(20))
    world.tracker.set_candidates([A, B, V6], START)
    world.run(3600.0)
    asked_at: dict[PeerId, list[float]] = {}
    for when, ask in world.asked:
        asked_at.setdefault(ask.server.peer, []).append(when)
    pauses = [later - earlier for times in asked_at.values() for earlier, later in pairwise(times)]
    assert min(pauses) >= SERVER_PAUSE_S
    assert all(len(times) <= 3 * (3600.0 / BACKOFF_S) for times in asked_at.values())
    assert len(world.asked) <= ASKS_AT_ONCE + 3600.0 / 60 * ASKS_PER_MINUTE


def test_a_server_without_the_family_is_asked_about_the_other_one() -> None:
    def answer(ask: AddressProbe, now: float) -> DialOutcome:
        return DialOutcome.REFUSED if ask.addrs[0] == V6 else DialOutcome.REACHED

    world = World(answer)
    world.tracker.set_servers(servers(6))
    world.tracker.set_candidates([A, V6], START)
    world.run(60.0)
    assert world.state(A) is REACHABLE
    assert world.state(V6) is UNKNOWN
    assert sum(ask.addrs[0] == V6 for _, ask in world.asked) <= 6


def test_servers_of_the_addresss_own_family_are_asked_if_there_are_any() -> None:
    world = World(always(DialOutcome.REACHED))
    both = [*servers(5, version=6), *(Server(one, one, 4) for one in PEERS[10:20])]
    world.tracker.set_servers(both)
    world.tracker.set_candidates([V6], START)
    world.run(120.0)
    assert world.state(V6) is REACHABLE
    assert {ask.server.version for _, ask in world.asked} == {6}


def test_an_address_whose_every_test_costs_data_is_tested_seldom() -> None:
    world = World(always(DialOutcome.REACHED))
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([V6], START)
    world.run(3600.0)
    assert world.state(V6) is REACHABLE
    assert len(world.asked) <= CONFIRMATIONS + 1 + 3600.0 / COSTLY_RECHECK_S


def test_nothing_reachable_lasts_until_something_is_or_the_network_changes() -> None:
    world = World(always(DialOutcome.NOT_REACHED))
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([A], START)
    world.run(60.0)
    world.tracker.set_candidates([], world.now)  # nobody observes it at this moment
    assert world.tracker.overall is UNREACHABLE
    world.answer = always(DialOutcome.REACHED)
    world.tracker.set_candidates([B], world.now)
    assert world.tracker.overall is UNREACHABLE
    world.run(2.0)
    assert world.tracker.overall is REACHABLE
    world.tracker.set_candidates([], world.now)
    assert world.tracker.overall is UNKNOWN
    world.answer = always(DialOutcome.NOT_REACHED)
    world.tracker.set_candidates([A], world.now)
    world.run(60.0)
    assert world.tracker.overall is UNREACHABLE
    world.tracker.set_candidates([], world.now)
    world.tracker.on_network_changed(world.now)
    assert world.tracker.overall is UNKNOWN


def test_a_changed_network_has_everything_judged_again_at_once() -> None:
    world = World(always(DialOutcome.REACHED))
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([A], START)
    world.run(60.0)
    world.answer = always(DialOutcome.NOT_REACHED)
    world.tracker.on_network_changed(world.now)
    assert world.state() is REACHABLE  # stands until then
    world.run(3 * UNREACHED_S)
    assert world.state() is UNREACHABLE


def test_a_judgement_nobody_has_confirmed_for_long_is_forgotten() -> None:
    world = World(always(DialOutcome.NOT_REACHED))
    world.tracker.set_servers(servers(8))
    world.tracker.set_candidates([A], START)
    world.run(60.0)
    world.tracker.set_servers([])
    world.run(FORGET_S + 30.0)
    assert world.state() is world.tracker.overall is UNKNOWN
    assert world.tracker.withheld(world.now) == frozenset()


def test_servers_that_come_later_decide() -> None:
    world = World(always(DialOutcome.REACHED))
    world.tracker.set_candidates([A], START)
    for count in range(1, CONFIRMATIONS + 1):
        world.tracker.set_servers(servers(count))
        world.run(1.0)
    assert world.state() is REACHABLE
