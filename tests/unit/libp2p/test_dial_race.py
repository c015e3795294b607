"""The order and pace of a dial (RFC 8305), in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.dialing import DialRace, Target
from tests.unit.libp2p.pair import START

STAGGER_S = 0.25


def target(host: str) -> Target:
    return Target(Multiaddr.from_endpoint(host, 1), "tcp", host, 1)


def race_of(*hosts: str, most: int = 100) -> DialRace:
    race = DialRace(STAGGER_S, most)
    for host in hosts:
        assert race.add(target(host), 1)
    return race


def started(race: DialRace, now: float = START) -> list[tuple[str, float]]:
    """What is tried when, if nothing ever answers."""
    found = []
    while (at := race.next_timer()) is not None:
        now = max(now, at)
        tried = race.start(now)
        assert tried is not None
        assert race.start(now) is None
        found.append((tried.host, now - START))
    return found


def test_a_dead_first_address_costs_the_stagger() -> None:
    race = race_of("10.0.0.1", "10.0.0.2")
    assert started(race) == [("10.0.0.1", 0.0), ("10.0.0.2", STAGGER_S)]


def test_one_that_refuses_costs_nothing() -> None:
    race = race_of("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert race.start(START) == target("10.0.0.1")
    race.on_failed(START + 0.01)
    assert race.next_timer() == START + 0.01
    assert race.start(START + 0.01) == target("10.0.0.2")
    assert race.next_timer() == START + 0.01 + STAGGER_S
    race.on_failed(START + 5)  # a late failure must not put the next one off
    assert race.next_timer() == START + 0.01 + STAGGER_S


def test_families_take_turns_and_ipv6_begins() -> None:
    race = race_of("10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2")
    assert [host for host, _ in started(race)] == [
        "2001:db8::1",
        "10.0.0.1",
        "2001:db8::2",
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_a_better_rank_goes_before_the_other_family() -> None:
    race = race_of("2001:db8::1", "10.0.0.1")
    race.add(target("10.0.0.9"), 0)
    race.add(target("2001:db8::9"), 2)
    hosts = [host for host, _ in started(race)]
    assert hosts == ["10.0.0.9", "2001:db8::1", "10.0.0.1", "2001:db8::9"]


def test_what_a_name_leads_to_joins_the_race() -> None:
    race = race_of("10.0.0.1")
    assert race.start(START) is not None
    assert race.next_timer() is None
    assert race.add(target("10.0.0.2"), 1)
    assert not race.add(target("10.0.0.1"), 1)  # tried already
    assert race.next_timer() == START + STAGGER_S
    late = START + 10
    assert race.start(late) == target("10.0.0.2")


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_are_tried_than_allowed(most: int) -> None:
    race = race_of(*(f"10.0.0.{n}" for n in range(1, 10)), most=most)
    assert len(started(race)) == most


HOSTS = st.lists(
    st.tuples(st.sampled_from(["10.0.0.%d", "2001:db8::%d"]), st.integers(1, 9), st.integers(0, 3)),
    max_size=20,
)


@given(HOSTS)
def test_all_are_tried_once_by_rank(hosts: list[tuple[str, int, int]]) -> None:
    ranks: dict[str, int] = {}
    race = DialRace(STAGGER_S, 100)
    for form, number, rank in hosts:
        host = form % number
        assert race.add(target(host), rank) is (host not in ranks)
        ranks.setdefault(host, rank)
    order = started(race)
    assert sorted(host for host, _ in order) == sorted(ranks)
    assert [ranks[host] for host, _ in order] == sorted(ranks.values())
    assert [at for _, at in order] == pytest.approx([n * STAGGER_S for n in range(len(order))])
    for n, (host, _) in enumerate(order[1:], 1):
        same_family = [
            h for h, _ in order[n:] if ranks[h] == ranks[host] and (":" in h) != (":" in order[n - 1][0])
        ]
        # A family goes twice in a row only when the other one has none of that rank left.
        assert (":" in host) != (":" in order[n - 1][0]) or not same_family
