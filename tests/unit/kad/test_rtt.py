"""Soft timeouts of requests, estimated from earlier round trips."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig
from fastmarket.kad.lookup.iterative import IterativeLookup, NetworkKnowledge
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.rtt import MIN_SAMPLES, Estimate, RttEstimator
from tests.unit.kad.test_lookup import PEERS, TARGET, Naming
from tests.virtual import START, peer_id_of

CONFIG = KadConfig()
QUICK, SLOW, OTHER = (peer_id_of(name) for name in ("quick", "slow", "other"))


def rtt(config: KadConfig = CONFIG) -> RttEstimator:
    """Two connected peers, one ten times as quick as the other."""
    made = RttEstimator(config)
    for peer_id, took in ((QUICK, 0.02), (SLOW, 0.2)):
        made.on_connected(peer_id)
        for _ in range(MIN_SAMPLES):
            made.on_answer(peer_id, took, True)
    return made


def test_the_estimate_is_that_of_rfc_6298() -> None:
    estimate = Estimate()
    estimate.add(0.1)
    assert (estimate.mean, estimate.deviation) == (0.1, 0.05)
    estimate.add(0.2)
    assert estimate.mean == pytest.approx(0.1 + 0.1 / 8)
    assert estimate.deviation == pytest.approx(0.05 + (0.1 - 0.05) / 4)


def test_each_connected_peer_has_its_own_soft_timeout_within_bounds() -> None:
    made = rtt()
    least, most = CONFIG.min_soft_timeout_s, CONFIG.soft_timeout_s
    assert least <= made.soft_timeout_s(QUICK) < made.soft_timeout_s(SLOW) <= most
    for _ in range(100):
        made.on_answer(QUICK, 0.0001, True)
        made.on_answer(SLOW, 5.0, True)
    assert made.soft_timeout_s(QUICK) == least
    assert made.soft_timeout_s(SLOW) == most


def test_who_is_not_known_is_measured_by_the_others_like_it() -> None:
    made = rtt()
    assert made.soft_timeout_s(OTHER) == CONFIG.soft_timeout_s, "nobody was dialled so far"
    for _ in range(MIN_SAMPLES):
        made.on_answer(OTHER, 0.05, False)
    assert made.soft_timeout_s(OTHER) < 0.25
    made.on_connected(OTHER)
    assert made.soft_timeout_s(OTHER) > 0.4, "those connected differ much"
    made.on_disconnected(QUICK)
    assert made.soft_timeout_s(QUICK) == made.soft_timeout_s(peer_id_of("stranger"))


def test_silence_ends_with_a_word_or_with_time_and_is_bounded() -> None:
    made = RttEstimator(replace(CONFIG, max_rtt_estimates=2))
    made.on_late(QUICK, START)
    assert made.is_unresponsive(QUICK, START + CONFIG.silent_s - 1)
    assert not made.is_unresponsive(QUICK, START + CONFIG.silent_s)
    made.on_late(SLOW, START)
    made.on_heard(SLOW)
    assert not made.is_unresponsive(SLOW, START)
    for peer_id in (QUICK, SLOW, OTHER):
        made.on_late(peer_id, START)
    assert [made.is_unresponsive(peer_id, START) for peer_id in (QUICK, SLOW, OTHER)] == [False, True, True]


def lookup(made: RttEstimator) -> IterativeLookup:
    started = IterativeLookup(
        TARGET,
        Naming(),
        replace(CONFIG, alpha=3, k=3),
        peer_id_of("local"),
        NetworkKnowledge(made, NetworkSize(CONFIG)),
    )
    started.add(PEERS[:3])
    return started


def test_a_peer_that_hangs_costs_one_lookup_a_soft_timeout_and_the_next_nothing() -> None:
    made = RttEstimator(CONFIG)
    for peer in PEERS[:3]:
        made.on_connected(peer.peer_id)
        for _ in range(MIN_SAMPLES):
            made.on_answer(peer.peer_id, 0.001, True)
    first = lookup(made)
    hanging, *others = [out.token for out in first.poll(START)]
    for token in others:
        first.on_reply(token, "/test", b"", START + 0.001)
    assert first.poll(START + 0.001) == []
    assert first.end is None
    late = first.next_timer()
    assert late == pytest.approx(START + CONFIG.min_soft_timeout_s)
    first.handle_timer(late)
    assert first.poll(late) == []
    assert first.end is None, "held a little longer"
    until = first.next_timer()
    assert until == pytest.approx(START + CONFIG.settle_factor * CONFIG.min_soft_timeout_s)
    first.handle_timer(until)
    assert first.poll(until) == []
    assert first.end is End.COMPLETE

    second = lookup(made)
    tokens = [out.token for out in second.poll(until)]
    assert len(tokens) == 3, "asked all the same"
    for token in tokens[1:]:
        second.on_reply(token, "/test", b"", until + 0.001)
    assert second.poll(until + 0.001) == []
    assert second.end is End.COMPLETE, "not waited for"
    assert hanging == tokens[0] == 0


def test_a_silent_peer_that_answers_counts_and_where_all_are_silent_they_are_waited_for() -> None:
    made = RttEstimator(CONFIG)
    for peer in PEERS[:3]:
        made.on_late(peer.peer_id, START)
    started = lookup(made)
    tokens = [out.token for out in started.poll(START)]
    assert started.poll(START + 1) == []
    assert started.end is None
    started.on_reply(tokens[1], "/test", b"", START + 2)
    assert [answered.peer for answered in started.closest()] == [PEERS[1]]
