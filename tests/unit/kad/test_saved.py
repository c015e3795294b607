"""What is kept of the table, and whom of it a node joins by."""

from __future__ import annotations

from dataclasses import replace

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import CachedPeer, PeerCache
from fastmarket.kad.routing.table import RoutingTable

CONFIG = KadConfig()
NOW = 1_000_000.0


def peer(number: int, block: int | None = None) -> PeerInfo:
    """Each in an address block of its own unless said."""
    block = number if block is None else block
    addr = Multiaddr.from_text(f"/ip4/{1 + block // 200}.{block % 200 + 10}.0.{number % 250}/tcp/4001")
    return PeerInfo(PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big")), (addr,))


LOCAL = peer(9999).peer_id


def saved(count: int, now: float = NOW) -> list[CachedPeer]:
    return [CachedPeer(peer(number), now - number) for number in range(count)]


def test_the_table_the_silent_and_those_not_met_again_are_kept_last_seen_first() -> None:
    routing = RoutingTable(CONFIG, LOCAL)
    for number, at in ((1, NOW), (2, NOW + 1), (3, NOW - 50)):
        routing.on_identified(peer(number), {CONFIG.protocol}, at)
    for at in (NOW + 10, NOW + 20):
        routing.on_failure(peer(2).peer_id, FailureKind.RESET, at)
    assert routing.contact(peer(2).peer_id) is None
    earlier = [CachedPeer(peer(3), NOW - 5000), CachedPeer(peer(4), NOW - 6000)]
    kept = PeerCache(CONFIG, LOCAL, earlier).snapshot(routing, NOW + 30)
    assert [(one.info, one.seen) for one in kept] == [
        (peer(2), NOW + 20),
        (peer(1), NOW),
        (peer(3), NOW - 50),
        (peer(4), NOW - 6000),
    ]


def test_they_are_bounded_and_forgotten_after_a_while() -> None:
    config = replace(CONFIG, max_saved=10, saved_ttl_s=15.0)
    peers = PeerCache(config, LOCAL, saved(100))
    assert [one.info for one in peers.snapshot(RoutingTable(config, LOCAL), NOW)] == [
        peer(n) for n in range(10)
    ]
    assert [one.info for one in peers.snapshot(RoutingTable(config, LOCAL), NOW + 10)] == [
        peer(n) for n in range(5)
    ]
    assert peers.next_seeds(NOW + 20) == []


def test_seeds_are_taken_last_seen_first_and_others_at_the_next_attempt() -> None:
    config = replace(CONFIG, saved_seeds=4)
    peers = PeerCache(config, LOCAL, [*saved(6), CachedPeer(PeerInfo(LOCAL, peer(0).addrs), NOW)])
    attempts = [peers.next_seeds(NOW) for _ in range(3)]
    numbers = [[peer(n) for n in row] for row in ((0, 1, 2, 3), (4, 5, 0, 1), (2, 3, 4, 5))]
    assert attempts == numbers


def test_few_peers_are_all_taken_once() -> None:
    peers = PeerCache(CONFIG, LOCAL, saved(3))
    assert peers.next_seeds(NOW) == [peer(0), peer(1), peer(2)]
    assert PeerCache(CONFIG, LOCAL).next_seeds(NOW) == []


def test_one_address_block_is_not_all_that_is_tried() -> None:
    config = replace(CONFIG, saved_seeds=4)
    crowd = [CachedPeer(peer(n, block=7), NOW) for n in range(100, 150)]
    others = [CachedPeer(peer(n), NOW - 1000 - n) for n in (1, 2, 3)]
    taken = PeerCache(config, LOCAL, [*crowd, *others]).next_seeds(NOW)
    assert taken == [peer(100, block=7), peer(1), peer(2), peer(3)]
