"""fastmarket.native.tcp_addr and its plain twin agree, on addresses whole and damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.formats.addr_protocols import PROTOCOLS, VARIABLE
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.varint import encode_uvarint
from fastmarket.native import tcp_addr
from tests.reference import tcp_addr as twin

PEERS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda key: b"\x00\x24\x08\x01\x12\x20" + key),
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
).map(lambda raw: str(PeerId.from_bytes(raw)))
PLAIN = st.builds("/ip4/{}/tcp/{}".format, st.ip_addresses(v=4), st.integers(0, 65535))
WITH_PEER = st.builds("{}/p2p/{}".format, PLAIN, PEERS)


@given(PLAIN | WITH_PEER)
def test_plain_addresses_are_read_and_written(text):
    raw = tcp_addr.addr_from_text(text)
    assert raw is not None
    assert raw == twin.addr_from_text(text)
    assert tcp_addr.addr_to_text(raw) == twin.addr_to_text(raw) == text


@given(PLAIN | WITH_PEER, st.data())
@settings(max_examples=400)
def test_damaged_text_is_read_as_the_twin_reads_it(text, data):
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    damaged = text[:at] + data.draw(st.text("0159./:aàz/", max_size=3)) + text[at + cut :]
    assert tcp_addr.addr_from_text(damaged) == twin.addr_from_text(damaged)


@given(PLAIN | WITH_PEER, st.data())
def test_what_is_no_plain_address_has_no_text(text, data):
    raw = tcp_addr.addr_from_text(text)
    assert raw is not None
    damaged = bytearray(raw + data.draw(st.binary(max_size=2)))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(0, 255))
    shown = tcp_addr.addr_to_text(bytes(damaged))
    assert shown == twin.addr_to_text(bytes(damaged))
    if shown is not None:
        assert Multiaddr(bytes(damaged)).parts
        assert tcp_addr.addr_from_text(shown) == bytes(damaged)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
@given(st.binary(max_size=40))
@settings(max_examples=20)
def test_other_protocols_are_left_to_the_general_writer(protocol, value):
    """Whatever stands in them; and the twin comes to an end, too."""
    value = value if protocol.size == VARIABLE else value[: protocol.size].ljust(protocol.size, b"a")
    head = encode_uvarint(protocol.code)
    one = head + (encode_uvarint(len(value)) if protocol.size == VARIABLE else b"") + value
    plain = bytes.fromhex("047f000001061001")
    for raw in (one, one + plain, plain + one, one + one, one[:-1], head, plain + head):
        assert tcp_addr.addr_to_text(raw) == twin.addr_to_text(raw)


@pytest.mark.parametrize(
    "text",
    ["", "/", "/ip4", "/ip4/", "/ip4/1.2.3.4", "/ip4/1.2.3.4/tcp", "/ip4/1.2.3.4/tcp/", "/ip4/1.2.3.4/udp/1",
     "/ip4/1.2.3/tcp/4", "/ip4/1.2.3.256/tcp/4", "/ip4/01.2.3.4/tcp/4", "/ip4/1.2.3.4/tcp/65536",
     "/ip4/1.2.3.4/tcp/04", "/ip4/1.2.3.4/tcp/4/", "/ip4/1.2.3.4/tcp/4/p2p/", "/ip4/1.2.3.4/tcp/4/p2p/Qm",
     "/ip4/1.2.3.4/tcp/4/p2p/" + "z" * 300, "/ip6/::1/tcp/4", "/ip4/\u0661.2.3.4/tcp/4"],
)  # fmt: skip
def test_odd_text_is_left_to_the_general_reader(text):
    assert tcp_addr.addr_from_text(text) is None
