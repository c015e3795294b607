"""The offer protocol's messages against the generated code."""

from __future__ import annotations

import pytest

from fastmarket.config import KadConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import Field, encode_peer
from fastmarket.offers.wire.messages import (
    Ack,
    FindReply,
    FindRequest,
    StoreRequest,
    decode_find_reply,
    decode_request,
    decode_store_reply,
    encode_acks,
    encode_find,
    encode_found,
    encode_store,
)
from fastmarket.pb.fastmarket.v1 import offer_pb2 as pb
from tests.virtual import CONTENT, identity

PEER = PeerInfo(identity(1).peer_id, (Multiaddr.from_text("/ip4/192.0.2.1/tcp/4001"),))
CLOSER = encode_peer(Field.CLOSER_PEERS, PEER, 700)


def test_requests_round_trip() -> None:
    for request in (
        FindRequest(CONTENT, 0),
        FindRequest(CONTENT, 7, 0, 3),
        FindRequest(CONTENT, 2**32 - 1, 9),
    ):
        assert decode_request(encode_find(request), 0) == request
    envelopes = (b"a", b"", b"b" * 300)
    assert decode_request(encode_store(envelopes), 3) == StoreRequest(envelopes)


def test_the_joined_reply_is_what_the_generated_code_writes() -> None:
    envelopes = [b"x" * 5, b"y" * 300, b""]
    raw = encode_found(envelopes, True) + CLOSER + CLOSER
    message = pb.OfferReply.FromString(raw)
    assert list(message.offers) == envelopes
    assert message.more
    assert [peer.id for peer in message.closerPeers] == [PEER.peer_id.raw] * 2
    assert raw == message.SerializeToString(deterministic=True)
    assert encode_acks(list(Ack)) == pb.OfferReply(acks=pb.Ack.values()).SerializeToString()
    assert {ack.name: ack.value for ack in Ack} == {
        name.removeprefix("ACK_"): value for name, value in pb.Ack.items()
    }


def test_replies_round_trip() -> None:
    assert decode_find_reply(encode_found([b"a", b"b"], False) + CLOSER, 2, KadConfig()) == FindReply(
        (b"a", b"b"), False, (PEER,)
    )
    assert decode_find_reply(b"", 0, KadConfig()) == FindReply((), False, ())
    acks = (Ack.STORED, Ack.FULL)
    assert decode_store_reply(encode_acks(acks)).acks == acks
    assert decode_store_reply(b"\x0a\x01\x63").acks == (Ack.UNSPECIFIED,)  # one of a later version


def test_what_is_out_of_bounds_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        decode_request(encode_store([b"a"] * 3), 2)
    with pytest.raises(LimitExceeded):
        decode_find_reply(encode_found([b"a"] * 3, False), 2, KadConfig())
    with pytest.raises(LimitExceeded):
        decode_request(encode_find(FindRequest(bytes(81), 1)), 1)
    with pytest.raises(LimitExceeded):
        decode_request(encode_find(FindRequest(b"", 1)), 1)
    many = decode_find_reply(CLOSER * 100, 0, KadConfig())
    assert len(many.closer) <= KadConfig().max_closer_peers


@pytest.mark.parametrize("body", [b"", b"\x08\x01", b"\xff", b"\x12\x7f", b"\x12\x01\xff"])
def test_garbage_is_a_peers_fault(body: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_request(body, 10)


@pytest.mark.parametrize("payload", [b"\xff", b"\x12\x7f", b"\x42\x02\x0a\x7f"])
def test_a_garbled_reply_is_a_peers_fault(payload: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_find_reply(payload, 10, KadConfig())
    with pytest.raises(PeerFault):
        decode_store_reply(payload)
