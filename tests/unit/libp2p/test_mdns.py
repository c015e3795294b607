"""What nodes of a local network say of themselves, and who is met of those that were heard of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.mdns import (
    MAX_ADDRS,
    MAX_HEARD,
    MAX_MEETINGS,
    MAX_STRING,
    MEET_AGAIN_S,
    HeardPeers,
    is_local,
    peer_in,
    text_of,
)


def peer_of(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big"))


def addr(text: str) -> Multiaddr:
    return Multiaddr.from_text(text)


def info(number: int, port: int = 4001) -> PeerInfo:
    return PeerInfo(peer_of(number), (Multiaddr.from_endpoint("10.0.0.7", port),))


def record(*strings: str) -> bytes:
    return b"".join(bytes((len(one),)) + one.encode() for one in strings)


def test_a_record_is_what_the_specification_shows() -> None:
    peer = PeerId.from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
    text = text_of(peer, [addr("/ip4/192.168.1.2/tcp/4001")])
    line = b"dnsaddr=/ip4/192.168.1.2/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
    assert text == bytes((len(line),)) + line
    assert peer_in(text) == PeerInfo(peer, (addr("/ip4/192.168.1.2/tcp/4001"),))


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("/ip4/10.1.2.3/tcp/1", True),
        ("/ip4/169.254.3.4/tcp/1", True),
        ("/ip4/100.64.0.1/tcp/1", True),
        ("/ip6/fd00::1/tcp/1", True),
        ("/ip4/127.0.0.1/tcp/1", False),
        ("/ip4/8.8.8.8/tcp/1", False),
        ("/ip6/fe80::1/tcp/1", False),
        ("/ip6/2606:4700::1/tcp/1", False),
        ("/dns4/printer.local/tcp/1", False),
        ("/ip4/10.1.2.3/udp/1/quic-v1", False),
    ],
)
def test_addresses_of_private_networks_alone_are_told_and_read(text: str, local: bool) -> None:
    assert is_local(addr(text)) is local
    assert bool(text_of(peer_of(1), [addr(text)])) is local
    read = peer_in(record(f"dnsaddr={text}/p2p/{peer_of(1)}"))
    assert (read is not None) is local


def test_a_record_is_of_one_peer_and_what_is_no_address_is_ignored() -> None:
    ours, other = (f"dnsaddr=/ip4/10.0.0.{number}/tcp/1/p2p/{peer_of(number)}" for number in (1, 2))
    nameless = "dnsaddr=/ip4/10.0.0.3/tcp/1"
    read = peer_in(record("", "x=y", nameless, "dnsaddr=/nonsense", ours, other, ours) + b"\xff")
    assert read == PeerInfo(peer_of(1), (addr("/ip4/10.0.0.1/tcp/1"),))
    assert peer_in(b"") is None
    assert peer_in(record(nameless)) is None


@given(st.lists(st.ip_addresses(v=4, network="10.0.0.0/8"), max_size=3 * MAX_ADDRS, unique=True))
def test_what_is_told_is_read_up_to_a_bound(ips: list[object]) -> None:
    addrs = tuple(Multiaddr.from_endpoint(str(ip), 4001) for ip in ips)
    read = peer_in(text_of(peer_of(1), addrs))
    assert read == (PeerInfo(peer_of(1), addrs[:MAX_ADDRS]) if addrs else None)


def test_no_string_is_longer_than_a_record_takes() -> None:
    long = Multiaddr.from_text("/ip4/10.0.0.1/tcp/4001" + "/p2p-circuit" * 20)
    assert text_of(peer_of(1), [long]) == b""
    assert len(text_of(peer_of(1), [addr("/ip4/10.0.0.1/tcp/4001")])) <= 1 + MAX_STRING


def test_a_peer_is_met_once_and_again_at_other_addresses() -> None:
    heard = HeardPeers(peer_of(0))
    heard.on_heard(info(0))  # ourselves
    for _ in range(3):
        heard.on_heard(info(1))
    assert heard.next_to_meet(0.0) == info(1)
    heard.on_met()
    heard.on_heard(info(1))
    assert heard.next_to_meet(1.0) is None
    heard.on_heard(info(1, 4002))
    assert heard.next_to_meet(2.0) == info(1, 4002)


def test_a_node_that_is_alone_tries_again_after_a_while() -> None:
    heard = HeardPeers(peer_of(0))
    heard.on_heard(info(1))
    assert heard.next_to_meet(0.0) == info(1)
    heard.on_met()
    heard.on_alone(MEET_AGAIN_S - 1)
    assert heard.next_to_meet(MEET_AGAIN_S - 1) is None
    heard.on_alone(MEET_AGAIN_S)
    heard.on_alone(MEET_AGAIN_S)
    assert heard.next_to_meet(MEET_AGAIN_S) == info(1)
    heard.on_met()
    assert heard.next_to_meet(MEET_AGAIN_S) is None


def test_few_are_met_at_once_and_a_flood_of_names_is_forgotten() -> None:
    heard = HeardPeers(peer_of(0))
    for number in range(1, 10 * MAX_HEARD):
        heard.on_heard(info(number))
    assert len(heard) == MAX_HEARD
    met = []
    while (peer := heard.next_to_meet(0.0)) is not None:
        met.append(peer)
    assert len(met) == MAX_MEETINGS
    heard.on_met()
    assert heard.next_to_meet(0.0) is not None
