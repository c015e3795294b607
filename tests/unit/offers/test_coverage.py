"""What lookups prove about the peers closest to a key, against a population that is known."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.search import Answered
from fastmarket.offers.coverage import Coverage, place

K = 20


def population(count: int, random: Random) -> list[Answered]:
    return [Answered(PeerInfo(PeerId(b"\x12\x20" + random.randbytes(32))), "/offer/1") for _ in range(count)]


def true_closest(peers: list[Answered], at: int) -> tuple[Answered, ...]:
    return tuple(sorted(peers, key=lambda peer: place(peer.peer.peer_id.key) ^ at)[:K])


@pytest.mark.parametrize("size", [1, 19, 20, 21, 60, 1000])
def test_what_is_covered_is_exact_and_the_target_always_is(size: int) -> None:
    random = Random(size)
    peers = population(size, random)
    coverage = Coverage(K)
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


def test_nothing_is_covered_before_a_lookup() -> None:
    assert Coverage(K).closest(0) is None


def test_a_peer_beyond_the_ball_keeps_a_key_uncovered() -> None:
    """The k closest known are not the k closest there are: that must not be taken for proven."""
    random = Random(3)
    peers = population(200, random)
    coverage = Coverage(K)
    at = random.getrandbits(64)
    coverage.learn(at, true_closest(peers, at))
    for _ in range(500):
        other = random.getrandbits(64)
        found = coverage.closest(other)
        assert found is None or set(found) == set(true_closest(peers, other))
    far = at ^ 1 << 63
    assert coverage.closest(far) is None
