"""Places of streams: shares of a peer, a block and strangers, and deadlines of whole messages."""

from __future__ import annotations

import pytest

from fastmarket.errors import LimitExceeded
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.libp2p.stream_shares import StreamBounds, StreamShares

BOUNDS = StreamBounds(per_peer=2, per_block=8, total=16, message_s=60.0)


def peer(number: int) -> PeerId:
    return Identity.from_seed(bytes([number]) * 32).peer_id


def block(number: int) -> bytes:
    return bytes([60, number])


def fill(shares: StreamShares, first: int, where: bytes | None) -> int:
    """Strangers until one is refused; how many came in."""
    for count in range(64):
        try:
            shares.enter(peer(first + count), where, 0.0)
        except LimitExceeded:
            return count
    raise AssertionError("nobody was refused")


def test_a_peer_has_a_share_over_all_its_connections() -> None:
    shares = StreamShares("test", BOUNDS)
    first = shares.enter(peer(1), block(1), 0.0)
    shares.enter(peer(1), block(2), 0.0)
    with pytest.raises(LimitExceeded):
        shares.enter(peer(1), block(3), 0.0)
    shares.leave(first)
    shares.leave(first)  # counts once
    shares.enter(peer(1), block(3), 0.0)
    with pytest.raises(LimitExceeded):
        shares.enter(peer(1), block(3), 0.0)


def test_strangers_of_one_block_leave_room_for_others_and_for_known_peers() -> None:
    known = peer(200)
    shares = StreamShares("test", BOUNDS, known.__eq__)
    assert fill(shares, 1, block(1)) == 6
    assert fill(shares, 20, block(2)) == 6  # twelve of sixteen: strangers have no more
    assert fill(shares, 40, block(3)) == fill(shares, 40, None) == 0
    shares.enter(known, block(1), 0.0)
    assert len(shares) == 13


def test_peers_without_a_block_are_bounded_by_the_total_alone() -> None:
    shares = StreamShares("test", BOUNDS)
    assert fill(shares, 1, None) == 12


def test_who_brings_no_whole_message_loses_its_place_in_due_order() -> None:
    shares = StreamShares("test", BOUNDS)
    slow, quick = (shares.enter(peer(number), block(1), float(number)) for number in (1, 2))
    assert shares.next_timer() == 61.0
    shares.progressed(slow, 30.0)
    assert shares.take_overdue(61.0) == []
    assert shares.take_overdue(62.0) == [quick]
    shares.progressed(quick, 63.0)  # one that has left does not come back
    assert shares.take_overdue(1000.0) == [slow]
    assert (len(shares), shares.next_timer()) == (0, None)


def test_without_a_time_for_messages_nothing_is_overdue() -> None:
    shares = StreamShares("test")
    shares.enter(peer(1), None, 0.0)
    assert shares.next_timer() is None
    assert shares.take_overdue(1e9) == []
