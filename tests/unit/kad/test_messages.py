"""The kad message on the wire: against the generated code, and with garbage."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import (
    Field,
    Kind,
    decode_message,
    decode_peers,
    encode_peer,
    encode_put,
    encode_reply,
    encode_request,
)
from fastmarket.pb.libp2p import kad_pb2
from tests.virtual import peer_id_of, peer_info_of


def pb_peer(number: int) -> kad_pb2.Message.Peer:
    peer = peer_info_of(number)
    return kad_pb2.Message.Peer(id=peer.peer_id.raw, addrs=[addr.raw for addr in peer.addrs], connection=1)


def test_what_protobuf_writes_is_read() -> None:
    written = kad_pb2.Message(
        type=kad_pb2.Message.GET_PROVIDERS,
        key=b"k" * 200,
        record=kad_pb2.Record(key=b"k", value=b"v" * 300),
        closerPeers=[pb_peer(1), pb_peer(2)],
        providerPeers=[pb_peer(3)],
        clusterLevelRaw=-1,
    )
    message = decode_message(written.SerializeToString(), 40, 256)
    assert (message.kind, message.key) == (Kind.GET_PROVIDERS, b"k" * 200)
    assert message.record == written.record.SerializeToString()
    assert decode_peers(message.closer, 16, 8192) == (peer_info_of(1), peer_info_of(2))
    assert decode_peers(message.providers, 16, 8192) == (peer_info_of(3),)


def test_what_we_write_is_read_by_protobuf() -> None:
    assert (
        kad_pb2.Message.FromString(encode_request(Kind.FIND_NODE, b"key")).type == kad_pb2.Message.FIND_NODE
    )
    put = kad_pb2.Message.FromString(encode_put(b"key", kad_pb2.Record(key=b"key").SerializeToString()))
    assert (put.type, put.key, put.record.key) == (kad_pb2.Message.PUT_VALUE, b"key", b"key")
    entry = encode_peer(Field.CLOSER_PEERS, peer_info_of(7), 700)
    reply = kad_pb2.Message.FromString(encode_reply(Kind.FIND_NODE, [entry, entry]))
    assert [peer.id for peer in reply.closerPeers] == [peer_info_of(7).peer_id.raw] * 2
    assert list(reply.closerPeers[0].addrs) == [addr.raw for addr in peer_info_of(7).addrs]


def test_entries_beyond_the_bounds_are_not_taken() -> None:
    written = kad_pb2.Message(closerPeers=[pb_peer(n) for n in range(50)], providerPeers=[pb_peer(1)] * 9)
    message = decode_message(written.SerializeToString(), 40, 4)
    assert (len(message.closer), len(message.providers)) == (40, 4)
    long = kad_pb2.Message.Peer(id=peer_id_of(1).raw, addrs=[peer_info_of(1).addrs[0].raw] * 30)
    message = decode_message(kad_pb2.Message(closerPeers=[long, pb_peer(2), long]).SerializeToString(), 40, 4)
    assert [len(raw) > 127 for raw in message.closer] == [True, False, True]


def test_an_entry_is_cut_to_its_size_by_whole_addresses() -> None:
    addrs = tuple(Multiaddr.from_text(f"/dns4/{'h' * 50}{n}.example/tcp/4001") for n in range(40))
    entry = encode_peer(Field.CLOSER_PEERS, PeerInfo(peer_id_of(1), addrs), 700)
    assert len(entry) <= 704
    (peer,) = decode_peers(decode_message(entry, 40, 0).closer, 16, 8192)
    assert peer.addrs == addrs[: len(peer.addrs)]
    assert 5 < len(peer.addrs) < 16


def test_a_bad_entry_costs_only_itself() -> None:
    good = pb_peer(1).SerializeToString()
    no_id = kad_pb2.Message.Peer(id=b"\x99nonsense").SerializeToString()
    unknown_addr = kad_pb2.Message.Peer(
        id=peer_id_of(2).raw, addrs=[b"\xff\xff\x03xx", peer_info_of(2).addrs[0].raw]
    )
    entries = [no_id, good, b"\x0a\xff", unknown_addr.SerializeToString(), b"", b"\x12" * 9000]
    assert decode_peers(entries, 16, 8192) == (peer_info_of(1), peer_info_of(2))


@pytest.mark.parametrize(
    "body",
    [
        b"\x12",  # no length
        b"\x12\x05abc",  # cut short
        b"\x42\x80",  # length cut short
        b"\x08",  # varint missing
        b"\x08" + b"\xff" * 10,  # varint without end
        b"\x0b",  # a group
        b"\x0d\x01",  # half a fixed32
        b"\x42\x02ab\x42\x7fx",  # second entry of a run cut short
    ],
)
def test_malformed_bytes_are_the_peers_fault(body: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_message(body, 40, 40)


def test_random_bytes_raise_nothing_else() -> None:
    random = Random(5)
    good = kad_pb2.Message(
        type=4, key=b"k" * 34, closerPeers=[pb_peer(n) for n in range(20)]
    ).SerializeToString()
    for _ in range(3000):
        if random.random() < 0.5:
            body = random.randbytes(random.randrange(60))
        else:
            mutable = bytearray(good[: random.randrange(len(good))])
            for _ in range(3):
                if mutable:
                    mutable[random.randrange(len(mutable))] = random.randrange(256)
            body = bytes(mutable)
        try:
            message = decode_message(body, 40, 40)
        except PeerFault:
            continue
        decode_peers(message.closer, 16, 8192)
