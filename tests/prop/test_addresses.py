"""An address that was accepted can be used in every way: no step behind the parser raises."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import ConnectionConfig, HostConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.addr_protocols import IP6, IP6ZONE, PROTOCOLS, TCP, VARIABLE, AddrProtocol
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr, parse_addrs
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.peer_record import decode_peer_record, encode_peer_record
from fastmarket.formats.scope import ip_group, ip_of, scope_of
from fastmarket.formats.varint import encode_uvarint, frame
from fastmarket.kad.routing.peer_cache import CachedPeer
from fastmarket.kad.wire.messages import Field, encode_peer
from fastmarket.libp2p.connection_policy import source_of
from fastmarket.libp2p.dialing import DialBook, DialRace, Target
from fastmarket.libp2p.identify import IdentifyCollector, IdentifyInfo, encode_identify, observing
from fastmarket.libp2p.observed import ObservedAddrs, Report
from fastmarket.libp2p.peerstore import AddrSource, PeerStore, worth_keeping
from fastmarket.net.addresses import OwnAddresses, is_loopback
from fastmarket.storage import peers as peer_file

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
HERE = Multiaddr.from_text("/ip4/198.51.100.1/tcp/1")
NOW = 1_700_000_000.0

# What the values of one protocol mean to the steps behind another.
LETTERS = "abc019%./:_-~@#\\ \t\n\0\u00df\u00fc\u3002\u202e\u200d\u2603\U0001f600\ud800"
TEXTS = st.one_of(
    st.text(alphabet=LETTERS, max_size=8),
    st.sampled_from(["a%b", "a..b", "eth0", "x" * 16, "x" * 64, "127.0.0.1", "0", "::1", "fe80::1%x"]),
)


def values(protocol: AddrProtocol) -> st.SearchStrategy[bytes]:
    """Of every size, and such as are nearly right."""
    if protocol.size != VARIABLE:
        size = protocol.size
        return st.one_of(
            st.binary(min_size=size, max_size=size), st.sampled_from([bytes(size), b"\xff" * size])
        )
    return st.one_of(
        TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
        TEXTS.map(lambda text: b"/" + text.encode("utf-8", "surrogatepass")),
        st.sampled_from([ALICE.peer_id.raw, BOB.peer_id.raw, b"\x12\x02ab", b"\x00\x01a"]),
        st.binary(max_size=20),
    )


def encoded(protocol: AddrProtocol, value: bytes) -> bytes:
    head = encode_uvarint(protocol.code)
    return head + frame(value) if protocol.size == VARIABLE else head + value


def components(chosen: Sequence[AddrProtocol] = PROTOCOLS) -> st.SearchStrategy[bytes]:
    return st.sampled_from(list(chosen)).flatmap(
        lambda protocol: values(protocol).map(lambda value: encoded(protocol, value))
    )


raws = st.one_of(
    st.lists(components(), min_size=1, max_size=4).map(b"".join),
    # What is dialed: a host, perhaps with a zone, and a port.
    st.tuples(
        st.one_of(st.just(b""), components([IP6ZONE])),
        components(PROTOCOLS),
        components([TCP]),
        st.one_of(st.just(b""), components()),
    ).map(b"".join),
    st.tuples(components([IP6ZONE]), components([IP6]), components([TCP])).map(b"".join),
)


def use(addr: Multiaddr) -> None:
    """Every step that an address of a stranger's goes through here."""
    assert str(addr).isprintable()
    assert Multiaddr.from_text(str(addr)) == addr
    assert Multiaddr(addr.raw).parts == addr.parts
    json.dumps([str(addr), addr.parts])
    endpoint, ip = addr.host_port(), ip_of(addr)
    if ip is not None:
        scope_of(ip)
    plain = addr.without_peer()
    peer = PeerInfo(ALICE.peer_id, (addr,))
    ip_group(peer)
    worth_keeping(addr), worth_keeping(plain), is_loopback(addr), addr.is_dnsaddr, addr.plain_ip4()
    source_of(addr, HostConfig(limit_loopback=True))
    told_and_kept(addr, peer)
    dialed(addr)
    if endpoint is not None:
        as_resolver(endpoint.host, endpoint.port)


def told_and_kept(addr: Multiaddr, peer: PeerInfo) -> None:
    store = PeerStore(ConnectionConfig())
    store.add(ALICE.peer_id, [addr], AddrSource.HINT, NOW)
    store.identified(ALICE.peer_id, IdentifyInfo(listen_addrs=(addr,)), NOW)
    store.forget(ALICE.peer_id, addr)
    votes = ObservedAddrs()
    for observed, remote in ((addr, HERE), (HERE, addr), (addr, addr)):
        votes.report(Report(BOB.peer_id, remote, observed, True), NOW)
        votes.report(Report(BOB.peer_id, remote, observed, False), NOW)
    votes.confirmed((addr, HERE), NOW)
    own = OwnAddresses(ALICE.peer_id, interfaces=lambda: ["127.0.0.1", "::1"])
    own.report(Report(BOB.peer_id, HERE, addr, True), NOW)
    own.refresh(NOW)
    own.told_to(addr), addr in own
    assert decode_peer_record(encode_peer_record(ALICE, [addr], 1)).addrs == (addr,)
    collector = IdentifyCollector()
    collector.feed(encode_identify(IdentifyInfo(listen_addrs=(addr,), observed_addr=addr)))
    assert collector.finish().observed_addr == addr
    observing(b"", addr)
    entry = encode_peer(Field.CLOSER_PEERS, peer, 2048)
    assert entry
    written = peer_file._encode([CachedPeer(PeerInfo(ALICE.peer_id, (addr.without_peer(),)), NOW)])
    assert peer_file._decode(written)[1] == 0


def dialed(addr: Multiaddr) -> None:
    book, race = DialBook(ConnectionConfig()), DialRace(0.1, 4)
    book.on_failed(addr, NOW)
    book.order([addr], NOW), book.rank(addr), book.waits_until(addr)
    book.on_succeeded(addr)
    endpoint = addr.host_port()
    if endpoint is not None:
        target = Target(addr, "tcp", endpoint.host, endpoint.port)
        race.add(target, 1)
        assert race.start(NOW) == target


def as_resolver(host: str, port: int) -> None:
    """It may say that there is no such host, and nothing else."""
    with suppress(OSError):
        socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)


@given(raws)
def test_what_is_accepted_as_bytes_can_be_used_in_every_way(raw: bytes) -> None:
    try:
        addr = Multiaddr.from_bytes(raw)
    except PeerFault:
        assert parse_addrs([raw], 1) == ()
        return
    use(addr)


@given(st.lists(st.tuples(st.sampled_from(PROTOCOLS), TEXTS), min_size=1, max_size=4))
def test_what_is_accepted_as_text_can_be_used_in_every_way(
    parts: list[tuple[AddrProtocol, str]],
) -> None:
    text = "".join(f"/{protocol.name}" + (f"/{value}" if protocol.size else "") for protocol, value in parts)
    try:
        addr = Multiaddr.from_text(text)
    except CallerFault:
        return
    use(addr)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
@settings(max_examples=12)
@given(st.data())
def test_each_protocol_where_a_host_stands(protocol: AddrProtocol, data: st.DataObject) -> None:
    raw = encoded(protocol, data.draw(values(protocol)))
    port = encoded(TCP, b"\x10\x01")
    zone = encoded(IP6ZONE, data.draw(values(IP6ZONE)))
    for whole in (raw, raw + port, zone + raw + port, raw + port + raw, port + raw):
        for addr in parse_addrs([whole], 1):
            use(addr)


@pytest.mark.parametrize(
    "zone", ["a%b", "%", "%eth0", "a..b", ".a", "a.", "eth 0", "x" * 16, "\u00fc", "a\0", "a:b"]
)
@pytest.mark.parametrize("ip", ["2001:db8::1", "fe80::1", "::"])
def test_a_zone_that_no_resolver_takes_is_refused(zone: str, ip: str) -> None:
    """Where it is parsed: later steps build "IP%ZONE" of it."""
    raw = (
        encoded(IP6ZONE, zone.encode())
        + IP6.code.to_bytes(1, "big")
        + IP6.to_bytes(ip)
        + encoded(TCP, b"\0\x01")
    )
    assert parse_addrs([raw], 1) == ()
    with pytest.raises(PeerFault):
        Multiaddr.from_bytes(raw)
    with pytest.raises(CallerFault):
        Multiaddr.from_text(f"/ip6zone/{zone}/ip6/{ip}/tcp/1")


@pytest.mark.parametrize(
    "zone", ["0", "12", "eth0", "eth0.100", "br-3f2a", "wlp0s20f3", "en_1", "vEthernet~1"]
)
def test_names_of_real_interfaces_are_zones(zone: str) -> None:
    addr = Multiaddr.from_text(f"/ip6zone/{zone}/ip6/fe80::1/tcp/1")
    endpoint = addr.host_port()
    assert endpoint is not None
    assert endpoint.host == f"fe80::1%{zone}"
    use(addr)
