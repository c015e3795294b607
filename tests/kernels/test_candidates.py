"""fastmarket.native.candidates: lookups of random fortune against the twin's, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.peer_state import PeerState, Transitions
from fastmarket.kad.lookup.policy import STATE_RULES, STATE_TABLE, hold_s, slow_hold_s
from fastmarket.native.candidates import (
    Candidate,
    Candidates,
    Closest,
    Connected,
    LivenessShortcut,
    StateTable,
)
from tests.reference import candidates as twin
from tests.reference.xor import distance

START = 1000.0
LOCAL = bytes(32)
WANTED = ("/a", "/b")
CONFIG = replace(
    KadConfig(),
    k=4,
    alpha=3,
    beta=4,
    min_queried=2,
    max_asked=14,
    shortlist_size=12,
    max_group_in_bucket=1,
    request_timeout_s=3.0,
    settle_s=1.0,
    settle_factor=2.0,
)


class Asking:
    """How a peer would be asked."""

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return tuple(Choice(protocol, b"") for protocol in WANTED)


class Lookups:
    """One lookup of ours and one of the twin's, to which the same happens."""

    def __init__(self, random: Random, config: KadConfig) -> None:
        self.random, self.config = random, config
        target = random.randbytes(32)
        ids = [PeerId(b"\x12\x20" + random.randbytes(32)) for _ in range(40)]
        self.peers = [PeerInfo(peer_id) for peer_id in ids]
        self.blocks = {
            peer_id.key: random.choice((None, b"\x01\x02", b"\x01\x03", b"\x00\x00\x01\x02"))
            for peer_id in ids
        }
        self.soft_timeouts_s = {peer_id.key: random.choice((0.2, 0.5, 0.9)) for peer_id in ids}
        self.silent = {peer_id.key for peer_id in ids if random.random() < 0.1}
        self.ours = Candidates(target, LOCAL, config, STATE_TABLE, self.block_of)
        self.twin = twin.Candidates(target, LOCAL, config, self.block_of, WANTED)
        self.connected: dict[bytes, Connected] = {}
        spoken: dict[bytes, tuple[set[str], float]] = {}
        for peer_id in ids:
            if random.random() < 0.5:
                protocols = set(random.sample(("/a", "/b", "/c"), random.randrange(3)))
                answered_at = START - random.random() * 8
                self.connected[peer_id.key] = Connected(protocols, answered_at)
                spoken[peer_id.key] = (protocols, answered_at)
        if random.random() < 0.7:
            reach = random.choice((None, random.randbytes(32)))
            self.ours.shortcut = LivenessShortcut(reach, self.connected, 6.0, Asking())
            self.twin.shortcut = twin.LivenessShortcut(target, reach, 6.0, spoken)
        if random.random() < 0.5:
            nearest = sorted(ids, key=lambda one: distance(one.key, target))
            reach = distance(nearest[random.randrange(20)].key, target)
            self.ours.reach = self.twin.reach = reach
            assert self.ours.reach == reach
        self.out: dict[int, tuple[Candidate, twin.Candidate]] = {}
        self.now, self.asked, self.slowest = START, 0, None

    def block_of(self, peer: PeerInfo) -> bytes | None:
        return self.blocks[peer.peer_id.key]

    def _ask(self, mine: Candidates | twin.Candidates, one: Candidate | twin.Candidate) -> None:
        if one.key in self.silent:
            one.query_unresponsive(self.now, True)
        else:
            soft_timeout_s = self.soft_timeouts_s[one.key]
            mine.query(one, self.now, False, soft_timeout_s, hold_s(self.config, soft_timeout_s))  # type: ignore[arg-type]

    def walk(self) -> None:
        ours, theirs = list[Candidate](), list[twin.Candidate]()
        slow_s = None if self.slowest is None else slow_hold_s(self.config, self.slowest)
        self.ours.begin(self.now, self.asked, slow_s)
        while (candidate := self.ours.next_to_query()) is not None:
            ours.append(candidate)
            self._ask(self.ours, candidate)

        def ask_now(one: twin.Candidate) -> None:
            theirs.append(one)
            self._ask(self.twin, one)

        self.twin.walk(self.now, self.asked, slow_s, ask_now)
        assert [one.key for one in ours] == [one.key for one in theirs]
        assert (self.ours.is_open, self.ours.is_cut, self.ours.held_until, self.ours.awaited_count) == (
            self.twin.is_open,
            self.twin.is_cut,
            self.twin.held_until,
            self.twin.awaited_count,
        )
        for pair in zip(ours, theirs, strict=True):
            self.out[self.asked] = pair
            self.asked += 1

    def settle(self, answered: bool) -> None:
        if not self.out:
            return
        mine, theirs = self.out.pop(self.random.choice(list(self.out)))
        self.ours.free_slot(mine)
        self.twin.free_slot(theirs)
        if not answered:
            self.ours.fail(mine)
            self.twin.fail(theirs)
            return
        took = mine.answer("/b", self.now)
        assert took == theirs.answer("/b", self.now)
        self.slowest = took if self.slowest is None else max(took, self.slowest)
        self.add()

    def add(self) -> None:
        named = self.random.sample(self.peers, 6)
        again = [PeerInfo(peer.peer_id) for peer in named[:2]]  # the same ones as other objects
        assert self.ours.add([*named, *again], 2) == self.twin.add([*named, *again], 2)

    def later(self) -> None:
        self.now += self.random.random()
        ours, theirs = self.ours.overdue(self.now), self.twin.overdue(self.now)
        assert [one.key for one in ours] == [one.key for one in theirs]

    def check(self) -> None:
        assert [(one.key, one.state, one.protocol, one.hops) for one in self.ours.listed()] == [
            (one.key, one.state, one.protocol, one.hops) for one in self.twin.listed()
        ]
        assert (self.ours.heard_count, self.ours.in_flight_count) == (
            self.twin.heard_count,
            self.twin.in_flight_count,
        )
        closest = self.ours.closest()
        assert [(one.peer, one.protocol) for one in closest] == self.twin.closest()
        assert self.ours.closest_keys() == [one.peer.peer_id.key for one in closest]
        assert [one.key for one in self.ours.chosen(False)] == [one.key for one in self.twin.chosen(False)]
        assert [one.peer for one in self.ours.storers()] == [one.peer for one in self.twin.chosen(True)]
        until = self.ours.held_until
        mine = self.ours.next_timer({token: one for token, (one, _) in self.out.items()}, until)
        assert mine == self.twin.next_timer({token: one for token, (_, one) in self.out.items()}, until)


@pytest.mark.parametrize("seed", range(150))
def test_it_does_what_its_twin_does(seed: int) -> None:
    random = Random(seed)
    config = random.choice(
        (CONFIG, replace(CONFIG, beta=2), replace(CONFIG, min_queried=0, max_group_in_bucket=2))
    )
    lookups = Lookups(random, config)
    lookups.add()
    for _ in range(60):
        random.choice(
            (
                lookups.walk,
                lookups.walk,
                lookups.later,
                lambda: lookups.settle(answered=True),
                lambda: lookups.settle(answered=True),
                lambda: lookups.settle(answered=False),
                lookups.add,
            )
        )()
        lookups.check()


def test_who_is_asked_by_another_lookup_is_not_asked_again() -> None:
    peers = [PeerInfo(PeerId(b"\x12\x20" + bytes([n]) * 32)) for n in range(1, 4)]
    claims: dict[bytes, Candidate] = {}
    one, other = (Candidates(LOCAL, LOCAL, CONFIG, STATE_TABLE, lambda peer: None, claims) for _ in range(2))
    for lookup in (one, other):
        lookup.add(peers, 1)
        lookup.begin(START, 0, None)
    first = one.next_to_query()
    assert first is not None
    claims[first.key] = first
    one.query(first, START, True, 0.5, 1.0)
    second = other.next_to_query()
    assert second is not None
    assert second.key != first.key
    assert other.awaited_count == 0  # what others wait for says nothing


@pytest.mark.parametrize(("placed", "beyond"), [(6, 0), (7, 4), (11, 4)])
def test_ids_of_a_crowd_are_a_surplus_though_they_do_not_count(placed: int, beyond: int) -> None:
    """Of four blocks, within reach of the target: of each one counts, which makes k. Others lie beyond."""
    ids = [PeerId(b"\x12\x20" + bytes([n]) * 32) for n in range(1, 40)]
    peers = sorted(map(PeerInfo, ids), key=lambda peer: distance(peer.peer_id.key, LOCAL))
    blocks = {peer.peer_id: bytes([1, at % 4]) for at, peer in enumerate(peers[:placed])}
    config = replace(CONFIG, shortlist_size=len(ids))
    lookup = Candidates(LOCAL, LOCAL, config, STATE_TABLE, lambda peer: blocks.get(peer.peer_id))
    lookup.reach = distance(peers[placed - 1].peer_id.key, LOCAL)
    lookup.add(peers, 1)
    asked: list[PeerInfo] = []
    while True:
        lookup.begin(START, len(asked), None)
        candidate = lookup.next_to_query()
        if candidate is None:
            break
        lookup.query(candidate, START, True, 0.5, 1.0)
        lookup.free_slot(candidate)
        candidate.answer("/a", START)
        asked.append(candidate.peer)
    assert asked == [*peers[:4], *peers[placed : placed + beyond]]
    assert [one.peer for one in lookup.storers()] == asked


def test_a_peer_of_which_the_connection_ended_is_not_vouched_for() -> None:
    peers = [PeerInfo(PeerId(b"\x12\x20" + bytes([n]) * 32)) for n in range(1, 4)]
    config = replace(CONFIG, min_queried=0)
    connected = {peer.peer_id.key: Connected({"/a"}, START) for peer in peers}
    lookup = Candidates(LOCAL, LOCAL, config, STATE_TABLE, lambda peer: None)
    lookup.shortcut = LivenessShortcut(None, connected, 6.0, Asking())
    lookup.add(peers, 1)
    lookup.begin(START, 0, None)
    assert lookup.next_to_query() is None
    assert {one.state for one in lookup.listed()} == {PeerState.KNOWN_ALIVE}
    gone = connected.pop(peers[0].peer_id.key)
    gone.answered_at = float("-inf")
    lookup.begin(START, 0, None)
    asked = lookup.next_to_query()
    assert asked is not None
    assert asked.peer is peers[0]
    connected[peers[0].peer_id.key] = Connected({"/a"}, START)  # it is back
    lookup.begin(START, 0, None)
    assert lookup.next_to_query() is None


@pytest.mark.parametrize(
    ("changes", "target"),
    [({"shortlist_size": 0}, LOCAL), ({"shortlist_size": 1 << 21}, LOCAL), ({}, b"short")],
)
def test_what_it_refuses(changes: dict[str, int], target: bytes) -> None:
    with pytest.raises(ValueError, match="wanted"):
        Candidates(target, LOCAL, replace(CONFIG, **changes), STATE_TABLE, lambda peer: None)


def test_a_block_is_short() -> None:
    with pytest.raises(ValueError, match="block"):
        Closest(4, 1).take(b"seven b")


def test_many_peers_are_met_once() -> None:
    lookup = Candidates(LOCAL, LOCAL, replace(CONFIG, shortlist_size=500), STATE_TABLE, lambda peer: None)
    peers = [PeerInfo(PeerId(b"\x12\x20" + Random(n).randbytes(32))) for n in range(400)]
    assert lookup.add(peers, 1)
    assert not lookup.add(peers, 1)
    assert not lookup.add([PeerInfo(peer.peer_id) for peer in peers], 1)
    assert len(lookup.listed()) == 400


def test_the_table_decides_what_a_state_means() -> None:
    """In this one a late peer belongs to the result, and a failed one is late."""
    late = replace(STATE_RULES[PeerState.LATE], is_found=True)
    after = replace(Transitions(), on_failure=PeerState.LATE)
    table = StateTable({**STATE_RULES, PeerState.LATE: late}, after)
    peers = [PeerInfo(PeerId(b"\x12\x20" + bytes([n]) * 32)) for n in range(1, 4)]
    for given, found in ((STATE_TABLE, 0), (table, 1)):
        lookup = Candidates(LOCAL, LOCAL, CONFIG, given, lambda peer: None)
        lookup.add(peers, 1)
        lookup.begin(START, 0, None)
        first = lookup.next_to_query()
        assert first is not None
        first.query_unresponsive(START, False)
        assert len(lookup.closest()) == found
        lookup.fail(first)
        assert (first.state is PeerState.LATE) == (given is table)


def test_a_table_numbers_its_states() -> None:
    rules = {state: rule for state, rule in STATE_RULES.items() if state is not PeerState.LATE}
    with pytest.raises(ValueError, match="states"):
        StateTable(rules, Transitions())
    with pytest.raises(ValueError, match="not in tuple"):
        StateTable(STATE_RULES, replace(Transitions(), on_heard=7))
