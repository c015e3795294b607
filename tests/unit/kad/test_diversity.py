"""A crowd from one address block gets a few places, not all."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.engine import Engine
from tests.sim_network import START, peer_id_of

CONFIG = KadConfig()
SERVER = {CONFIG.protocol}
LOCAL = peer_id_of("local")


def make_engine(config: KadConfig = CONFIG) -> Engine:
    return Engine(config, LOCAL, now=START, entropy=Random(1).randbytes)


def at(ip: str, number: int) -> PeerInfo:
    return PeerInfo(peer_id_of(f"{ip} {number}"), (Multiaddr.from_text(f"/ip4/{ip}/tcp/{number + 1}"),))


def crowd(ip: str, count: int) -> list[PeerInfo]:
    return [at(ip, number) for number in range(count)]


def admit(engine: Engine, peers: list[PeerInfo], now: float = START) -> None:
    for peer in peers:
        engine.on_peer_identified(peer, SERVER, now)


def held_of(engine: Engine, ip: str) -> list[PeerInfo]:
    group = ip_group(at(ip, 0))
    return [contact.info for contact in engine.contacts() if ip_group(contact.info) == group]


def in_bucket(engine: Engine, peers: list[PeerInfo], bucket: int) -> list[PeerInfo]:
    return [peer for peer in peers if engine.routing.bucket_of(peer.peer_id.key) == bucket]


def test_a_flood_of_one_block_fills_no_bucket_and_no_table() -> None:
    engine = make_engine()
    admit(engine, crowd("11.22.1.1", 2000))
    flood = held_of(engine, "11.22.1.1")
    assert len(flood) == CONFIG.max_group_in_table
    for bucket in range(8):
        assert len(in_bucket(engine, flood, bucket)) <= CONFIG.max_group_in_bucket
    # Who comes after them from elsewhere finds room.
    others = [at(f"{first}.7.1.1", 1) for first in range(12, 20)]
    admit(engine, others)
    assert {contact.info for contact in engine.contacts()} >= set(others)


def test_a_flood_does_not_push_out_those_that_wait() -> None:
    engine = make_engine(replace(CONFIG, k=4))
    honest = in_bucket(engine, [at(f"{n // 100 + 20}.{n % 100}.1.1", 1) for n in range(60)], 0)[:6]
    admit(engine, honest)
    assert engine.routing.known_count() == 6
    admit(engine, crowd("11.22.1.1", 500))
    assert all(engine.routing.is_identified(peer.peer_id) for peer in honest)


def test_machines_of_a_lan_and_of_one_host_are_exempt() -> None:
    for ip in ("192.168.1.7", "10.0.0.1", "127.0.0.1"):
        engine = make_engine()
        admit(engine, crowd(ip, 100))
        free = make_engine(replace(CONFIG, max_group_in_bucket=10_000, max_group_in_table=10_000))
        admit(free, crowd(ip, 100))
        assert engine.table_size == free.table_size


def test_neighbours_in_our_own_block_get_half_a_bucket() -> None:
    engine = make_engine()
    engine.set_local_addrs(at("11.22.9.9", 0).addrs)
    admit(engine, crowd("11.22.1.1", 2000))
    neighbours = held_of(engine, "11.22.1.1")
    for bucket in range(5):
        assert len(in_bucket(engine, neighbours, bucket)) == CONFIG.k // 2


def test_a_free_share_goes_to_who_waits_of_the_same_block() -> None:
    engine = make_engine()
    peers = in_bucket(engine, crowd("11.22.1.1", 40), 0)[:4]
    admit(engine, peers)
    assert (
        held_of(engine, "11.22.1.1") == [peer for peer in peers if peer in peers[:2]]
        or len(held_of(engine, "11.22.1.1")) == 2
    )
    engine.routing.on_refusal(peers[0].peer_id, SERVER, START + 1)
    assert set(held_of(engine, "11.22.1.1")) == {peers[1], peers[3]}, "the freshest that waits"


def test_who_moves_into_a_crowded_block_loses_the_place() -> None:
    engine = make_engine()
    crowded = in_bucket(engine, crowd("11.22.1.1", 40), 0)[:2]
    mover = in_bucket(engine, [at(f"{first}.7.1.1", 1) for first in range(30, 60)], 0)[0]
    admit(engine, [*crowded, mover])
    moved = PeerInfo(mover.peer_id, at("11.22.1.1", 77).addrs)
    admit(engine, [moved])
    assert set(held_of(engine, "11.22.1.1")) == set(crowded)
    assert engine.routing.is_identified(mover.peer_id)


def test_the_count_follows_who_leaves() -> None:
    engine = make_engine()
    for turn in range(50):
        peer = at("11.22.1.1", turn)
        admit(engine, [peer], START + 10 * turn)
        assert held_of(engine, "11.22.1.1") == [peer]
        engine.routing.on_reply(LOCAL, START + 10 * turn + 1)
        for second in (2, 4):
            engine.routing.on_failure(peer.peer_id, FailureKind.TIMEOUT, START + 10 * turn + second)
            engine.routing.on_reply(LOCAL, START + 10 * turn + second)
        assert not held_of(engine, "11.22.1.1")
