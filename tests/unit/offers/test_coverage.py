"""What lookups prove about the peers closest to a key, against a population that is known."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.candidates import Answered
from fastmarket.offers.announce.coverage import Coverage, place

K = 20


def population(count: int, random: Random) -> list[Answered]:
    return [Answered(PeerInfo(PeerId(b"\x12\x20" + random.randbytes(32))), "/offer/1") for _ in range(count)]


def true_closest(peers: list[Answered], at: int) -> tuple[Answered, ...]:
    return tuple(sorted(peers, key=lambda peer: place(peer.peer.peer_id.key) ^ at)[:K])


@pytest.mark.parametrize("size", [1, 19, 20, 21, 60, 1000])
def test_what_is_covered_is_exact_and_the_target_always_is(size: int) -> None:
    random = Random(size)
    peers = population(size, random)
    coverage = Coverage(K, 2)
    lookups, settled = 0, 0
    wanted = sorted(random.getrandbits(64) for _ in range(2000))
    for at in wanted:
        found = coverage.closest(at)
        if found is None:
            lookups += 1
            coverage.learn(at, true_closest(peers, at))
            assert coverage.near(at) == list(true_closest(peers, at))
        else:
            settled += 1
            assert set(found) == set(true_closest(peers, at))
    assert lookups + settled == 2000
    assert lookups == 1 if size < K else settled > 500


def test_within_reach_every_known_peer_counts_and_far_too_many_take_a_lookup() -> None:
    random = Random(5)
    peers = population(400, random)
    at = random.getrandbits(64)
    near = sorted(peers, key=lambda peer: place(peer.peer.peer_id.key) ^ at)
    for within, proven in ((10, K), (25, 25), (30, 30), (31, 0)):
        reach = place(near[within - 1].peer.peer_id.key) ^ at
        coverage = Coverage(K, 2, reach + 1)
        for _ in range(60):  # lookups around, and one that met all the others within reach
            around = at ^ random.getrandbits(60)
            coverage.learn(around, true_closest(peers, around), near)
        found = coverage.closest(at)
        assert len(found or ()) == proven
        assert found is None or list(found) == near[:proven]


def test_nothing_is_covered_before_a_lookup() -> None:
    assert Coverage(K, 2).closest(0) is None


def test_a_peer_beyond_the_ball_keeps_a_key_uncovered() -> None:
    """The k closest known are not the k closest there are: that must not be taken for proven."""
    random = Random(3)
    peers = population(200, random)
    coverage = Coverage(K, 2)
    at = random.getrandbits(64)
    coverage.learn(at, true_closest(peers, at))
    for _ in range(500):
        other = random.getrandbits(64)
        found = coverage.closest(other)
        assert found is None or set(found) == set(true_closest(peers, other))
    far = at ^ 1 << 63
    assert coverage.closest(far) is None


def test_a_crowd_among_the_closest_takes_a_lookup_of_its_own() -> None:
    random = Random(4)

    def peers(block: int | None, count: int) -> list[Answered]:
        ids = [PeerId(b"\x12\x20" + random.randbytes(32)) for _ in range(count)]
        ip = "10.0.0.1" if block is None else f"5.{block}.0.1"
        addr = Multiaddr.from_text(f"/ip4/{ip}/tcp/1")
        return [Answered(PeerInfo(peer_id, (addr,)), "/offer/1") for peer_id in ids]

    for crowd, proven in ((2, True), (3, False)):
        everybody = peers(None, K - crowd) + peers(1, crowd)
        coverage = Coverage(K, 2)
        for _ in range(64):
            at = random.getrandbits(64)
            coverage.learn(at, true_closest(everybody, at))
        assert (coverage.closest(0) is not None) is proven
    # Where fewer than k are all there are, there is nobody beyond the crowd.
    coverage = Coverage(K, 2)
    coverage.learn(0, true_closest(peers(1, 5), 0))
    assert coverage.closest(0) is not None
