"""Round trips, and that a stranger's bytes raise nothing but PeerFault."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import open_envelope, payload_type_of, seal
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.formats.key_types import KeyType
from fastmarket.formats.multiaddr import Multiaddr, parse_addrs
from fastmarket.formats.peer_record import decode_peer_record, encode_peer_record
from fastmarket.formats.varint import (
    MAX_UVARINT_BYTES,
    FrameDecoder,
    decode_uvarint,
    encode_uvarint,
    frame,
    try_uvarint,
)

ALICE = Identity.from_seed(b"a" * 32)

identities = st.binary(min_size=32, max_size=32).map(Identity.from_seed)
hashed_ids = st.binary(min_size=32, max_size=32).map(lambda digest: PeerId(b"\x12\x20" + digest))
peer_ids = st.one_of(hashed_ids, identities.map(lambda identity: identity.peer_id))
ports = st.integers(0, 0xFFFF)
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,10}){0,3}", fullmatch=True)
hosts = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}"),
    st.ip_addresses(v=6).map(lambda ip: f"/ip6/{ip}"),
    st.tuples(st.sampled_from(["dns", "dns4", "dns6", "dnsaddr"]), names).map(
        lambda pair: "/" + "/".join(pair)
    ),
)
transports = st.one_of(
    ports.map(lambda port: f"/tcp/{port}"),
    ports.map(lambda port: f"/udp/{port}/quic-v1"),
    ports.map(lambda port: f"/udp/{port}/quic-v1/webtransport"),
    st.tuples(ports, names).map(lambda pair: f"/tcp/{pair[0]}/tls/sni/{pair[1]}/ws"),
    st.just(""),
)
tails = st.one_of(
    st.just(""),
    st.just("/p2p-circuit"),
    peer_ids.map(lambda peer: f"/p2p/{peer}"),
    st.text(min_size=1, max_size=20, alphabet=st.characters(codec="utf-8")).map(
        lambda text: Multiaddr(encode_uvarint(481) + frame(text.encode()))
    ),
)
addrs = st.tuples(hosts, transports, tails).map(lambda three: Multiaddr.from_text("".join(map(str, three))))

# Bytes that get further than noise: damaged copies of well-formed ones.
_SEEDS = [
    Multiaddr.from_text("/ip4/1.2.3.4/tcp/1/p2p/" + str(ALICE.peer_id)).raw,
    Multiaddr.from_text("/dns4/example.com/udp/1/quic-v1/webtransport/certhash/uEgNhYmM").raw,
    ALICE.peer_id.raw,
    ALICE.public_key.encode(),
    seal(ALICE, "domain", b"type", b"payload"),
    encode_peer_record(ALICE, [Multiaddr.from_text("/ip4/1.2.3.4/tcp/1")], 1),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(_SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw) - 1)) if raw else 0
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(raw)


noise = st.one_of(st.binary(max_size=200), damaged())


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varint_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_uvarint(value)
    assert decode_uvarint(before + encoded + after, len(before)) == (value, len(before + encoded))
    assert multiformats.varint.encode(value) == encoded
    assert all(try_uvarint(encoded[:cut]) is None for cut in range(len(encoded)))


@given(st.binary(max_size=12))
def test_varints_are_read_in_their_only_form(raw: bytes) -> None:
    try:
        found = try_uvarint(raw)
    except PeerFault:
        return
    if found is not None:
        assert encode_uvarint(found[0]) == raw[: found[1]]


@given(st.lists(st.binary(max_size=300), max_size=10), st.lists(st.integers(1, 400), max_size=20))
def test_frames_under_any_chunking(bodies: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(frame, bodies))
    decoder, got = FrameDecoder(limit=300), []
    for size in [*sizes, len(stream)]:
        chunk, stream = stream[:size], stream[size:]
        got += decoder.feed(chunk)
    assert got == bodies
    assert decoder.pending == 0


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 40))
def test_a_decoder_never_holds_more_than_a_frame(chunks: list[bytes], limit: int) -> None:
    decoder = FrameDecoder(limit)
    for chunk in chunks:
        try:
            bodies = decoder.feed(chunk)
        except PeerFault:
            return
        assert all(len(body) <= limit for body in bodies)
        assert decoder.pending <= limit + MAX_UVARINT_BYTES


@given(peer_ids)
def test_peer_id_round_trip(peer_id: PeerId) -> None:
    assert PeerId.from_text(str(peer_id)) == PeerId.from_bytes(peer_id.raw) == peer_id
    assert multiformats.multibase.decode("z" + str(peer_id)) == peer_id.raw
    for base in ("base32", "base36", "base58btc", "base16"):
        cid = multiformats.CID(base, 1, "libp2p-key", peer_id.raw)
        assert PeerId.from_text(str(cid)) == peer_id


@given(st.text(max_size=140))
def test_texts_that_are_no_peer_id(text: str) -> None:
    try:
        peer_id = PeerId.from_text(text)
    except CallerFault:
        return
    assert PeerId.from_text(str(peer_id)) == peer_id


@given(addrs)
def test_multiaddr_round_trip(addr: Multiaddr) -> None:
    assert Multiaddr(addr.raw) == addr
    assert Multiaddr.from_text(str(addr)) == addr
    assert parse_addrs([addr.raw, addr.raw], 5) == (addr,)


@given(addrs, peer_ids)
def test_peer_at_the_end(addr: Multiaddr, peer_id: PeerId) -> None:
    full = addr.with_peer(peer_id)
    assert full.peer_id == peer_id
    assert str(full).endswith(f"/p2p/{peer_id}")
    assert full.without_peer() == addr.without_peer()


@given(st.ip_addresses(), ports)
def test_endpoints(ip: IPv4Address | IPv6Address, port: int) -> None:
    endpoint = Multiaddr.from_endpoint(str(ip), port).host_port()
    assert endpoint is not None
    assert endpoint.port == port
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    assert type(ip)(endpoint.host) == ip if mapped is None else IPv4Address(endpoint.host) == mapped


@given(st.text(max_size=60).map(lambda text: "/" + text))
def test_texts_that_are_no_multiaddr(text: str) -> None:
    try:
        addr = Multiaddr.from_text(text)
    except CallerFault:
        return
    assert Multiaddr.from_text(str(addr)) == addr


@given(noise)
def test_noise_as_multiaddr(raw: bytes) -> None:
    try:
        addr = Multiaddr.from_bytes(raw)
    except PeerFault:
        assert parse_addrs([raw], 1) == ()
        return
    # What was accepted can be used in every way.
    assert str(addr).isprintable()
    assert Multiaddr.from_text(str(addr)).parts == addr.parts
    addr.host_port()
    assert addr.with_peer(ALICE.peer_id).peer_id == ALICE.peer_id


@given(noise)
def test_noise_as_peer_id(raw: bytes) -> None:
    try:
        peer_id = PeerId.from_bytes(raw)
    except PeerFault:
        return
    key = peer_id.public_key()
    assert key is None or key.peer_id == peer_id


@given(noise)
def test_noise_as_public_key(raw: bytes) -> None:
    try:
        key = PublicKey.decode(raw)
    except PeerFault:
        return
    assert PublicKey.decode(key.encode()) == key
    assert PeerId.from_bytes(key.peer_id.raw) == key.peer_id
    assert not key.verify(b"message", bytes(64))


@given(st.sampled_from(KeyType), st.binary(max_size=120))
def test_noise_as_key_data(key_type: KeyType, data: bytes) -> None:
    raw = b"\x08" + encode_uvarint(key_type) + b"\x12" + frame(data)
    try:
        key = PublicKey.decode(raw)
    except PeerFault:
        return
    assert key.encode() == raw


@given(noise)
def test_noise_as_envelope(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        open_envelope(raw, "another domain", payload_types=[b"type", b""])
    for read in (payload_type_of, decode_peer_record):
        try:
            read(raw)
        except PeerFault:
            continue


@given(identities, st.lists(addrs, max_size=5, unique=True), st.integers(0, 2**64 - 1))
def test_peer_record_round_trip(identity: Identity, some: list[Multiaddr], seq: int) -> None:
    record = decode_peer_record(encode_peer_record(identity, some, seq))
    assert (record.peer_id, record.seq, record.addrs) == (identity.peer_id, seq, tuple(some))


@given(st.binary(max_size=300), st.binary(max_size=30), st.text(max_size=20))
def test_envelope_round_trip(payload: bytes, payload_type: bytes, domain: str) -> None:
    raw = seal(ALICE, domain, payload_type, payload)
    envelope = open_envelope(raw, domain, payload_types=[payload_type])
    assert (envelope.payload, envelope.payload_type, envelope.peer_id) == (
        payload,
        payload_type,
        ALICE.peer_id,
    )
    with pytest.raises(PeerFault):
        open_envelope(raw, domain + "x", payload_types=[payload_type])
