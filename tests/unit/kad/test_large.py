"""The large table: who comes in, who goes, who is asked."""

from __future__ import annotations

from dataclasses import replace

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.full_table import FullTable
from tests.reference.lookup import distance
from tests.virtual import START, State, VirtualNetwork, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), large_table=True)


def public(number: int, block: int) -> PeerInfo:
    return PeerInfo(peer_id_of(number), (Multiaddr.from_text(f"/ip4/5.{block}.0.{number % 250}/tcp/1"),))


def test_the_nearest_are_told_and_those_removed_are_not() -> None:
    table = FullTable(CONFIG, peer_id_of("local"))
    for number in range(300):
        table.put(peer_info_of(number), START)
    target = bytes(range(32))
    ordered = sorted(range(300), key=lambda n: distance(peer_id_of(n).key, target))
    assert table.nearest(target, 30) == [peer_info_of(n) for n in ordered[:30]]
    table.remove(peer_id_of(ordered[0]).key)
    assert table.nearest(target, 1) == [peer_info_of(ordered[1])]
    assert len(table) == 299


def test_it_is_bounded_in_all_and_by_address_block() -> None:
    table = FullTable(replace(CONFIG, max_large_table=5, max_group_in_large=2), peer_id_of("local"))
    for number in range(4):
        table.put(public(number, 1), START)
    assert len(table) == 2
    for number in range(10, 20):
        table.put(public(number, number), START + number)
    assert len(table) == 5
    assert table.nearest(peer_id_of(0).key, 1) != [public(0, 1)]  # the longest unheard gave way
    table.put(public(1, 1), START + 50)  # and with it its share of the block
    assert len(table) == 5


def test_it_is_an_option() -> None:
    table = FullTable(KadConfig(), peer_id_of("local"))
    table.put(peer_info_of(1), START)
    table.on_named([peer_info_of(2)])
    assert len(table) == 0
    assert table.next_due() is None
    assert table.nearest(bytes(32), 5) == []


def test_who_was_named_is_asked_once_and_who_is_old_again() -> None:
    table = FullTable(replace(CONFIG, max_large_named=2), peer_id_of("local"))
    assert table.next_due() is None
    table.on_named([peer_info_of(1), peer_info_of(2), peer_info_of(3), PeerInfo(peer_id_of(4))])
    assert {table.take_due(START), table.take_due(START)} == {peer_info_of(2), peer_info_of(3)}
    assert table.take_due(START) is None
    table.put(peer_info_of(2), START)
    table.on_named([peer_info_of(2)])
    due = table.next_due()
    assert due == START + CONFIG.large_check_after_s
    assert table.take_due(due - 1) is None
    assert table.take_due(due) == peer_info_of(2)
    assert table.take_due(due) is None
    table.on_heard(peer_id_of(2).key, due)
    assert table.next_due() == due + CONFIG.large_check_after_s


def test_a_node_comes_to_know_everybody_who_lives() -> None:
    """Of a hundred peers a routing table with buckets of four holds some twenty."""
    network = VirtualNetwork(5, config=NodeConfig(kad=replace(CONFIG, k=4)))
    nodes = network.grow(40)
    large = nodes[0].engine.routing.full_table
    network.rest(120)
    assert nodes[0].engine.table_size < 30
    assert len(large) == 39
    nodes[7].state = State.SILENT
    network.rest(2 * CONFIG.large_check_after_s)
    assert nodes[7].info not in large.nearest(nodes[7].info.peer_id.key, 1)
    assert len(large) == 38
