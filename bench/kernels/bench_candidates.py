"""fastmarket.native.candidates beside its twin: the walk of one lookup.

40 peers to begin with, the 20 closest queried ten at a time, each of which names 20 that are known.
"""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import KEYS, SIDES
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.lookup.policy import STATE_TABLE
from fastmarket.native.candidates import Candidate, Candidates
from tests.reference import candidates as twin

CONFIG, PEERS = KadConfig(), [PeerInfo(PeerId(b"\x12\x20" + key)) for key in KEYS[:100]]
TARGET, LOCAL = KEYS[0], bytes(32)
TIMES = (0.0, True, 1.0, 2.0)  # now, connected, soft timeout, hold


def compiled_lookup() -> list[bytes]:
    lookup, asked = Candidates(TARGET, LOCAL, CONFIG, STATE_TABLE, ip_group), 0
    lookup.add(PEERS[:40], 1)
    while True:
        lookup.begin(0.0, asked, None)
        out: list[Candidate] = []
        while (candidate := lookup.next_to_query()) is not None:
            lookup.query(candidate, *TIMES)
            out.append(candidate)
        if not out:
            return lookup.closest_keys()
        asked += len(out)
        for candidate in out:
            lookup.free_slot(candidate)
            candidate.answer("/a", 0.1)
            lookup.add(PEERS[asked % 40 :][:20], 2)


def twin_lookup() -> list[bytes]:
    lookup, asked = twin.Candidates(TARGET, LOCAL, CONFIG, ip_group, ()), 0
    lookup.add(PEERS[:40], 1)
    while True:
        out: list[twin.Candidate] = []

        def ask(candidate: twin.Candidate, out: list[twin.Candidate] = out) -> None:
            lookup.query(candidate, *TIMES)
            out.append(candidate)

        lookup.walk(0.0, asked, None, ask)
        if not out:
            return [peer.peer_id.key for peer, _ in lookup.closest()]
        asked += len(out)
        for candidate in out:
            lookup.free_slot(candidate)
            candidate.answer("/a", 0.1)
            lookup.add(PEERS[asked % 40 :][:20], 2)


@SIDES
def test_lookup_of_20_closest(benchmark: BenchmarkFixture, compiled: bool) -> None:
    assert compiled_lookup() == twin_lookup()
    benchmark(compiled_lookup if compiled else twin_lookup)
