"""The messages of AutoNAT v2: byte for byte, and what strangers may send in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.autonat.messages import (
    MAX_ADDRS,
    DataPiece,
    DataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_frame,
    data_request_frame,
    decode,
    decode_dial_back,
    dial_back_answer_frame,
    dial_back_frame,
    request_frame,
    response_frame,
)
from fastmarket.pb.libp2p import autonat_pb2 as pb

ADDR = Multiaddr.from_text("/ip4/5.6.7.8/tcp/4001")


def test_the_bytes_are_those_of_the_specification() -> None:
    nonce = 0x0807060504030201
    inner = b"\x0a\x08" + ADDR.raw + b"\x11" + bytes(range(1, 9))
    assert request_frame([ADDR], nonce) == bytes((len(inner) + 2,)) + b"\x0a" + bytes((len(inner),)) + inner
    told = DialResponse(ResponseStatus.OK, 1, DialStatus.NO_CONNECTION)
    assert response_frame(told).hex() == "09" + "1207" + "08c801" + "1001" + "1864"
    assert data_request_frame(DataRequest(0, 30_000)).hex() == "06" + "1a04" + "10b0ea01"
    assert data_frame(3).hex() == "07" + "2205" + "0a03" + "000000"
    assert dial_back_frame(nonce) == b"\x09\x09" + bytes(range(1, 9))
    assert dial_back_answer_frame() == b"\x00"


@given(nonce=st.integers(0, 2**64 - 1), count=st.integers(0, 5))
def test_a_request_comes_out_as_it_went_in(nonce: int, count: int) -> None:
    assert decode(request_frame([ADDR] * count, nonce)[1:]) == DialRequest((ADDR,) * count, nonce)
    assert decode_dial_back(dial_back_frame(nonce)[1:]) == nonce


def test_an_address_that_cannot_be_read_keeps_its_place() -> None:
    message = pb.Message(dialRequest=pb.DialRequest(addrs=[b"\xff\xff\xff", ADDR.raw], nonce=1))
    assert decode(message.SerializeToString()) == DialRequest((None, ADDR), 1)


def test_addresses_beyond_the_bound_are_not_looked_at() -> None:
    message = pb.Message(dialRequest=pb.DialRequest(addrs=[ADDR.raw] * (MAX_ADDRS + 1)))
    decoded = decode(message.SerializeToString())
    assert isinstance(decoded, DialRequest)
    assert len(decoded.addrs) == MAX_ADDRS


@pytest.mark.parametrize(
    "message",
    [
        pb.Message(),
        pb.Message(dialResponse=pb.DialResponse(status=7)),
        pb.Message(dialResponse=pb.DialResponse(status=200, dialStatus=102)),
    ],
)
def test_what_has_no_meaning_is_refused(message: pb.Message) -> None:
    with pytest.raises(PeerFault):
        decode(message.SerializeToString())


def test_an_answer_and_a_piece_are_read() -> None:
    told = DialResponse(ResponseStatus.REFUSED)
    assert decode(response_frame(told)[1:]) == told
    assert decode(data_frame(4096)[2:]) == DataPiece(4096)
    for read in (decode, decode_dial_back):
        with pytest.raises(PeerFault):
            read(b"\x0a\x05\x01")
