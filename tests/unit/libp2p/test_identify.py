from __future__ import annotations

import pytest

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import encode_peer_record
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.libp2p.events import StreamData, StreamEnded
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    MAX_OWN_MESSAGE_BYTES,
    MAX_PARTS,
    PUSH_PROTOCOL,
    IdentifyCollector,
    IdentifyInfo,
    IdentifyPushResponder,
    IdentifyResponder,
    apply_push,
    encode_identify,
)
from fastmarket.libp2p.ping import PING_PROTOCOL, PingExchange, PingResponder
from fastmarket.pb.libp2p.identify_pb2 import Identify
from tests.unit.libp2p.pair import START, Pair, endpoint_of, identity_of

ALICE, MALLORY = identity_of(1), identity_of(9)
ADDRS = tuple(Multiaddr.from_text(f"/ip4/10.0.0.{n}/tcp/4001") for n in range(1, 4))
INFO = IdentifyInfo(
    public_key=ALICE.public_key,
    listen_addrs=ADDRS,
    protocols=(IDENTIFY_PROTOCOL, "/x/1"),
    observed_addr=ADDRS[0],
    protocol_version="/fastmarket/id/1.0.0",
    agent_version="fastmarket/1",
)


def collect(*chunks: bytes) -> IdentifyInfo:
    collector = IdentifyCollector(remote_peer=ALICE.peer_id)
    for chunk in chunks:
        collector.feed(chunk)
    return collector.finish()


def test_round_trip() -> None:
    assert collect(*(bytes([b]) for b in encode_identify(INFO))) == INFO


def test_split_messages_are_merged() -> None:
    first = IdentifyInfo(public_key=ALICE.public_key, listen_addrs=ADDRS[:1], protocols=("/a/1",))
    second = IdentifyInfo(listen_addrs=ADDRS[1:], protocols=("/b/1",), agent_version="go")
    info = collect(encode_identify(first) + encode_identify(second))
    assert info.listen_addrs == ADDRS
    assert info.protocols == ("/a/1", "/b/1")
    assert info.agent_version == "go"


def test_the_signed_record_decides_the_addresses() -> None:
    record = encode_peer_record(ALICE, ADDRS[2:], 7)
    info = collect(encode_identify(IdentifyInfo(listen_addrs=ADDRS[:2], signed_peer_record=record)))
    assert info.certified
    assert info.listen_addrs == ADDRS[2:]


@pytest.mark.parametrize("record", [encode_peer_record(MALLORY, ADDRS[2:], 7), b"junk"])
def test_a_record_of_another_peer_counts_for_nothing(record: bytes) -> None:
    info = collect(encode_identify(IdentifyInfo(listen_addrs=ADDRS[:2], signed_peer_record=record)))
    assert not info.certified
    assert info.listen_addrs == ADDRS[:2]


def test_anothers_key_is_a_fault() -> None:
    with pytest.raises(PeerFault):
        collect(encode_identify(IdentifyInfo(public_key=MALLORY.public_key)))


@pytest.mark.parametrize(
    "chunks",
    [(), (b"\x05abc",), (frame(b"\xff\xff\xff"),), (frame(b""),) * (MAX_PARTS + 1), (b"\xff\xff\x7f",)],
)
def test_malformed(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(PeerFault):
        collect(*chunks)


def test_text_that_is_not_utf8_is_left_out() -> None:
    assert collect(frame(b"\x1a\x02\xff\xfe\x1a\x02/a\x32\x01\xff")).protocols == ("/a",)


def test_the_own_message_stays_readable_for_all() -> None:
    addrs = tuple(Multiaddr.from_text(f"/ip6/2001:db8::{n:x}/tcp/4001") for n in range(1, 400))
    record = encode_peer_record(ALICE, addrs[:50], 7)
    data = encode_identify(IdentifyInfo(listen_addrs=addrs, protocols=("/x/1",), signed_peer_record=record))
    assert len(data) <= MAX_OWN_MESSAGE_BYTES
    message = Identify.FromString(FrameDecoder(8192).feed(data)[0])
    assert not message.signedPeerRecord
    assert 100 < len(message.listenAddrs) < 399
    assert message.protocols == ["/x/1"]


def test_push_replaces_what_it_brings() -> None:
    pushed = apply_push(INFO, IdentifyInfo(protocols=("/new/1",)))
    assert pushed.protocols == ("/new/1",)
    assert pushed.listen_addrs == ADDRS
    assert pushed.agent_version == INFO.agent_version


def test_identify_push_and_ping_over_a_connection() -> None:
    pushes: list[IdentifyInfo] = []
    served = {
        IDENTIFY_PROTOCOL: IdentifyResponder.factory(lambda peer: encode_identify(INFO)),
        PUSH_PROTOCOL: IdentifyPushResponder.factory(lambda peer, info, now: pushes.append(info)),
        PING_PROTOCOL: PingResponder,
    }
    pair = Pair(dialer=endpoint_of(2, {}), listener=endpoint_of(1, served)).open()
    stream = pair.dialer.open_stream([IDENTIFY_PROTOCOL], pair.now, lazy=True)
    pair.dialer.close_write(stream, pair.now)
    events, _ = pair.run()
    assert events[-1] == StreamEnded(stream)
    assert collect(*(e.data for e in events if isinstance(e, StreamData))) == INFO

    stream = pair.dialer.open_stream([PUSH_PROTOCOL], pair.now, lazy=True)
    pair.dialer.send(stream, encode_identify(IdentifyInfo(agent_version="new")), pair.now)
    pair.dialer.close_write(stream, pair.now)
    pair.run()
    assert pushes == [IdentifyInfo(agent_version="new")]

    stream = pair.dialer.open_stream([PING_PROTOCOL], pair.now, lazy=True)
    exchange = PingExchange(bytes(range(32)), START)
    pair.dialer.send(stream, exchange.block, pair.now)
    for event in pair.run()[0]:
        if isinstance(event, StreamData):
            exchange.feed(event.data, START + 0.5)
    assert exchange.rtt_s == 0.5
    pair.dialer.close_write(stream, pair.now)
    pair.run()
    assert pair.dialer.stream_count == pair.listener.stream_count == 0


def test_a_wrong_ping_echo_is_a_fault() -> None:
    with pytest.raises(PeerFault):
        PingExchange(bytes(32), START).feed(b"\x01", START)
