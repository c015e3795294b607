from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import (
    MAX_MULTIADDR_BYTES,
    Multiaddr,
    TcpEndpoint,
    UnknownMultiaddrProtocol,
    parse_addrs,
)
from fastmarket.formats.varint import encode_uvarint

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "multiaddrs.json").read_text())
PEER = Identity.from_seed(bytes(32)).peer_id
RELAY = Identity.from_seed(b"r" * 32).peer_id

parse = Multiaddr.from_text


@pytest.mark.parametrize(("text", "raw"), VECTORS["pairs"])
def test_text_and_bytes(text: str, raw: str) -> None:
    assert parse(text).raw.hex() == raw
    assert str(Multiaddr.from_bytes(bytes.fromhex(raw))) == text


@pytest.mark.parametrize("text", VECTORS["good"])
def test_texts_other_implementations_accept(text: str) -> None:
    addr = parse(text)
    assert parse(str(addr)) == addr
    assert Multiaddr(addr.raw) == addr


@pytest.mark.parametrize(
    "text", [*VECTORS["bad"], "", "/", "//", "ip4/1.2.3.4", "/ip4/1.2.3.4//tcp/1", "/nonsense/1"]
)
def test_texts_other_implementations_refuse(text: str) -> None:
    with pytest.raises(CallerFault) as caught:
        parse(text)
    assert caught.value.field == "multiaddr"


@pytest.mark.parametrize(
    "text",
    [
        "/tcp/+1",
        "/tcp/1_0",
        "/tcp/\N{ARABIC-INDIC DIGIT ONE}",
        "/tcp/ 1",
        "/ip4/1.2.3",
        "/ip6/fe80::1%eth0",
        "/dns4/a b",
        "/dns4/\x1b[31mred",
        "/dns4/" + "a" * 256,
        "/p2p/hello",
        "/x" * 10_000,
    ],
)
def test_texts_nobody_should_accept(text: str) -> None:
    with pytest.raises(CallerFault):
        parse(text)


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        (4, b"\x7f\0\0\x01", "/ip4/127.0.0.1"),
        (6, b"\x0f\xa1", "/tcp/4001"),
        (41, bytes(15) + b"\x01", "/ip6/::1"),
        (41, bytes(10) + b"\xff\xff\x01\x02\x03\x04", "/ip6/::ffff:1.2.3.4"),
        (42, b"\x04eth0", "/ip6zone/eth0"),
        (53, b"\x03a.b", "/dns/a.b"),
        (54, b"\x03a.b", "/dns4/a.b"),
        (55, b"\x03a.b", "/dns6/a.b"),
        (56, b"\x03a.b", "/dnsaddr/a.b"),
        (273, b"\x0f\xa1", "/udp/4001"),
        (280, b"", "/webrtc-direct"),
        (290, b"", "/p2p-circuit"),
        (400, b"\x04/tmp", "/unix/tmp"),
        (421, b"\x26" + PEER.raw, f"/p2p/{PEER}"),
        (448, b"", "/tls"),
        (449, b"\x03a.b", "/sni/a.b"),
        (454, b"", "/noise"),
        (460, b"", "/quic"),
        (461, b"", "/quic-v1"),
        (465, b"", "/webtransport"),
        (466, b"\x22\x12\x20" + bytes(32), "/certhash/uEiAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        (477, b"", "/ws"),
        (478, b"", "/wss"),
        (481, b"\x03a/b", "/http-path/a%2Fb"),
        (777, bytes(7) + b"\x04", "/memory/4"),
    ],
)
def test_every_code(code: int, value: bytes, text: str) -> None:
    raw = encode_uvarint(code) + value
    assert str(Multiaddr.from_bytes(raw)) == text
    assert parse(text).raw == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x04\x7f\0\0",  # an address cut short
        b"\x06",
        b"\x35\x00",  # a name without characters
        b"\x35\x05abc",  # cut short
        b"\x35\xff\xff\xff\xff\x7f",  # claims 32 GiB
        b"\x35\x02\xff\xfe",  # not UTF-8
        b"\x35\x03a/b",  # would read as another component
        b"\x35\x02\x1b[",  # would steer a terminal
        b"\x84\x00\x7f\0\0\x01",  # a code that is not minimal
        b"\xa5\x03\x02\x12\x20",  # no peer id
        b"\xd2\x03\x02\x12\x20",  # no multihash
        b"\x90\x03\x04/tmp\x06\x00\x01",  # something after a path
        b"\x90\x03\x03tmp",
    ],
)
def test_bytes_that_are_none(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        Multiaddr.from_bytes(raw)


def test_an_unknown_code_is_told_apart() -> None:
    with pytest.raises(UnknownMultiaddrProtocol) as caught:
        Multiaddr.from_bytes(b"\x04\x7f\0\0\x01" + encode_uvarint(4242))
    assert caught.value.code == 4242


def test_size_limit() -> None:
    longest = b"\xdd\x03" * (MAX_MULTIADDR_BYTES // 2)
    assert Multiaddr.from_bytes(longest).raw == longest
    with pytest.raises(LimitExceeded):
        Multiaddr.from_bytes(longest + b"\xdd\x03")
    # Our own additions to an address that came from outside never fail.
    assert Multiaddr.from_bytes(longest).with_peer(PEER).peer_id == PEER


def test_parts() -> None:
    addr = parse(f"/dns4/example.com/tcp/443/tls/ws/p2p/{PEER}")
    assert addr.parts == (
        ("dns4", "example.com"),
        ("tcp", "443"),
        ("tls", None),
        ("ws", None),
        ("p2p", str(PEER)),
    )


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("/ip4/1.2.3.4/tcp/1", None),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", PEER),
        (f"/p2p/{PEER}", PEER),
        (f"/p2p/{PEER}/http-path/x", PEER),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit", None),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{PEER}", PEER),
    ],
)
def test_whose_address_it_is(text: str, peer: PeerId | None) -> None:
    assert parse(text).peer_id == peer


def test_with_and_without_peer() -> None:
    plain = parse("/ip4/1.2.3.4/tcp/1")
    full = plain.with_peer(PEER)
    assert str(full) == f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}"
    assert full.without_peer() == plain
    assert plain.without_peer() is plain
    assert full.with_peer(RELAY) == plain.with_peer(RELAY)
    relayed = parse(f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit")
    assert relayed.without_peer() is relayed
    assert relayed.with_peer(PEER).without_peer() == relayed
    path = parse("/unix/tmp/node.sock")  # nothing may follow it
    assert path.with_peer(PEER) is path
    bare = parse(f"/p2p/{PEER}")
    assert bare.without_peer() is bare
    assert bare.with_peer(RELAY) == parse(f"/p2p/{RELAY}")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/ip4/1.2.3.4/tcp/0", TcpEndpoint("ip4", "1.2.3.4", 0)),
        (f"/ip6/::1/tcp/65535/p2p/{PEER}", TcpEndpoint("ip6", "::1", 65535)),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", TcpEndpoint("ip6", "fe80::1%eth0", 1)),
        ("/dns/a.example/tcp/1", TcpEndpoint("dns", "a.example", 1)),
        ("/dns4/bücher.example/tcp/1", TcpEndpoint("dns4", "xn--bcher-kva.example", 1)),
        ("/dns6/a.example/tcp/1", TcpEndpoint("dns6", "a.example", 1)),
        ("/dns4/a..example/tcp/1", None),
        ("/dns4/" + "a" * 64 + "/tcp/1", None),
        ("/dnsaddr/a.example/tcp/1", None),
        ("/ip4/1.2.3.4", None),
        ("/ip4/1.2.3.4/udp/1", None),
        ("/ip4/1.2.3.4/udp/1/quic-v1", None),
        ("/ip4/1.2.3.4/tcp/1/ws", None),
        ("/ip4/1.2.3.4/tcp/1/tls", None),
        ("/ip6zone/eth0/ip4/1.2.3.4/tcp/1", None),
        ("/ip6zone/eth0", None),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{PEER}", None),
        (f"/p2p/{PEER}", None),
        ("/tcp/1", None),
        ("/unix/tmp/socket", None),
    ],
)
def test_where_to_connect(text: str, endpoint: TcpEndpoint | None) -> None:
    assert parse(text).host_port() == endpoint


def test_dnsaddr() -> None:
    assert parse("/dnsaddr/bootstrap.libp2p.io").is_dnsaddr
    assert not parse("/dns/bootstrap.libp2p.io").is_dnsaddr


@pytest.mark.parametrize(
    ("ip", "text"),
    [
        ("1.2.3.4", "/ip4/1.2.3.4/tcp/5"),
        ("::1", "/ip6/::1/tcp/5"),
        ("::ffff:1.2.3.4", "/ip4/1.2.3.4/tcp/5"),
        ("fe80::1%eth0", "/ip6zone/eth0/ip6/fe80::1/tcp/5"),
    ],
)
def test_from_a_socket(ip: str, text: str) -> None:
    assert str(Multiaddr.from_endpoint(ip, 5)) == text


@pytest.mark.parametrize(
    ("ip", "port", "field"),
    [("localhost", 1, "ip"), ("fe80::1%a/b", 1, "ip"), ("::", 65536, "port"), ("::", -1, "port")],
)
def test_from_nonsense(ip: str, port: int, field: str) -> None:
    with pytest.raises(CallerFault) as caught:
        Multiaddr.from_endpoint(ip, port)
    assert caught.value.field == field


def test_lists_skip_what_they_do_not_understand() -> None:
    good = [parse(f"/ip4/1.2.3.4/tcp/{port}").raw for port in range(5)]
    unknown, broken, huge = encode_uvarint(4242), b"\x04\x01", b"\xdd\x03" * MAX_MULTIADDR_BYTES
    raws = [unknown, good[0], broken, good[0], huge, good[1], good[2], good[3]]
    assert [addr.raw for addr in parse_addrs(raws, 10)] == good[:4]
    assert [addr.raw for addr in parse_addrs(raws, 3)] == good[:3]
    assert parse_addrs(raws, 0) == ()


def test_address_is_a_value() -> None:
    addr = parse("/ip4/1.2.3.4/tcp/1")
    again = Multiaddr(addr.raw)
    assert addr == again
    assert hash(addr) == hash(again)
    assert addr != addr.raw
    assert pickle.loads(pickle.dumps(addr)) == copy.copy(addr) == addr
    assert Multiaddr.from_bytes(bytes(bytearray(addr.raw))) is Multiaddr.from_bytes(addr.raw)
    with pytest.raises(AttributeError):
        addr.raw = b""
