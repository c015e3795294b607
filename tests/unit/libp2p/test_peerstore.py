from __future__ import annotations

import pytest

from fastmarket.config import ConnectionConfig
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.dialing import DialBook
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.peerstore import AddrSource, PeerStore
from tests.unit.libp2p.pair import START, identity_of

PEER, OTHER = identity_of(1).peer_id, identity_of(2).peer_id


def addr(n: int) -> Multiaddr:
    return Multiaddr.from_text(f"/ip4/10.0.{n // 250}.{n % 250 + 1}/tcp/4001")


def test_the_most_believed_come_first_without_their_peer() -> None:
    store = PeerStore(ConnectionConfig())
    store.add(PEER, [addr(1), addr(2).with_peer(PEER)], AddrSource.HINT, START)
    store.add(PEER, [addr(3)], AddrSource.GIVEN, START)
    store.identified(
        PEER, IdentifyInfo(listen_addrs=(addr(2),), protocols=("/x",), agent_version="a"), START + 1
    )
    assert store.addrs(PEER) == (addr(2), addr(3), addr(1))
    assert store.protocols(PEER) == {"/x"}
    assert store.agent(PEER) == "a"


def test_identify_replaces_what_the_peer_said_before() -> None:
    store = PeerStore(ConnectionConfig())
    store.identified(PEER, IdentifyInfo(listen_addrs=(addr(1),)), START)
    store.identified(PEER, IdentifyInfo(listen_addrs=(addr(2),)), START + 1)
    assert store.addrs(PEER) == (addr(2),)


def test_hints_expire_unless_proven() -> None:
    store = PeerStore(ConnectionConfig())
    store.add(PEER, [addr(1), addr(2)], AddrSource.HINT, START)
    store.add(PEER, [addr(2)], AddrSource.DIALED, START)
    store.add(PEER, [addr(2)], AddrSource.HINT, START)
    assert store.addrs(PEER, START + 3599) == (addr(2), addr(1))
    assert store.addrs(PEER, START + 3601) == (addr(2),)


def test_addresses_nobody_can_dial_are_dropped() -> None:
    store = PeerStore(ConnectionConfig())
    useless = ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/ip4/1.2.3.4/tcp/0", "/ip4/224.0.0.1/tcp/1"]
    store.add(PEER, map(Multiaddr.from_text, useless), AddrSource.IDENTIFY, START)
    store.add(PEER, [addr(1).with_peer(OTHER)], AddrSource.HINT, START)
    assert store.addrs(PEER) == ()
    kept = [
        Multiaddr.from_text(t)
        for t in ("/ip4/127.0.0.1/tcp/1", "/ip4/1.2.3.4/udp/1/quic-v1", "/dns4/a.b/tcp/1")
    ]
    store.add(PEER, kept, AddrSource.IDENTIFY, START)
    assert set(store.addrs(PEER)) == set(kept)


def test_both_bounds_hold_and_spare_the_better() -> None:
    store = PeerStore(ConnectionConfig(max_known_peers=3, max_peer_addresses=4))
    store.add(PEER, [addr(99)], AddrSource.IDENTIFY, START)
    for n in range(50):
        store.add(PEER, [addr(n)], AddrSource.HINT, START + n)
    assert store.addrs(PEER) == (addr(99), addr(49), addr(48), addr(47))
    for n in range(10, 20):
        store.add(identity_of(n).peer_id, [addr(n)], AddrSource.HINT, START)
        store.add(PEER, [addr(99)], AddrSource.HINT, START)
    assert len(store) == 3
    assert PEER in store


@pytest.mark.parametrize("source", [AddrSource.HINT, AddrSource.IDENTIFY, AddrSource.CERTIFIED])
def test_ids_that_somebody_makes_up_do_not_drive_out_those_we_dialed(source: AddrSource) -> None:
    store = PeerStore(ConnectionConfig(max_known_peers=5))
    proven = [identity_of(n).peer_id for n in (1, 2, 3)]
    store.add(proven[0], [addr(1)], AddrSource.DIALED, START)
    store.add(proven[1], [addr(2)], AddrSource.GIVEN, START)
    store.add(proven[2], [addr(3)], AddrSource.IDENTIFY, START)
    store.add(proven[2], [addr(3)], AddrSource.DIALED, START)
    for n in range(10, 30):
        made_up = identity_of(n).peer_id
        store.add(made_up, [addr(n)], source, START)
        assert store.addrs(made_up) == (addr(n),)
    assert len(store) == 5
    assert all(peer_id in store for peer_id in proven)
    for n in range(30, 40):  # among themselves they still have their turn
        store.add(identity_of(n).peer_id, [addr(n)], AddrSource.DIALED, START)
    assert len(store) == 5
    assert proven[0] not in store


def test_failed_addresses_wait_longer_each_time() -> None:
    book = DialBook(ConnectionConfig(dial_backoff_s=5, max_dial_backoff_s=30))
    now = START
    waits = []
    for _ in range(5):
        book.on_failed(addr(1), now)
        waits.append(book.waits_until(addr(1)) - now)
        assert book.order([addr(1).with_peer(PEER), addr(2)], now) == (addr(2),)
        now = book.waits_until(addr(1))
    assert waits == [5, 10, 20, 30, 30]
    assert book.order([addr(1), addr(2)], now) == (addr(2), addr(1))
    book.on_succeeded(addr(1))
    assert book.order([addr(1), addr(2)], now) == (addr(1), addr(2))


def test_the_book_is_bounded() -> None:
    book = DialBook(ConnectionConfig(max_known_peers=10))
    for n in range(100):
        book.on_failed(addr(n), START)
    assert sum(book.waits_until(addr(n)) > 0 for n in range(100)) == 10
    book = DialBook(ConnectionConfig())
    for _ in range(5000):
        book.on_failed(addr(1), START)
    assert book.waits_until(addr(1)) == START + 600


def test_what_worked_before_goes_first_until_it_fails() -> None:
    book = DialBook(ConnectionConfig(max_known_peers=10))
    book.on_succeeded(addr(2))
    assert book.order([addr(1), addr(2).with_peer(PEER)], START) == (addr(2), addr(1))
    book.on_failed(addr(2), START)
    book.forgive(addr(2))
    assert book.order([addr(1), addr(2)], START) == (addr(1), addr(2))
    for n in range(100):
        book.on_succeeded(addr(n))
    assert sum(book.rank(addr(n)) == 0 for n in range(100)) == 10
