"""Messages of AutoNAT v2: of an asker, of a server, of whoever dials back."""

from __future__ import annotations

from contextlib import suppress

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.autonat.client import DialAsk, DialBackResponder, PendingAsks
from fastmarket.libp2p.autonat.messages import (
    MAX_DATA_BYTES,
    DataRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_frame,
    data_request_frame,
    decode,
    decode_dial_back,
    dial_back_frame,
    request_frame,
    response_frame,
)
from fastmarket.libp2p.autonat.server import DialServer
from tests.fuzz.target import Shape, Target
from tests.fuzz.values import PEERS

START = 1_000.0
NONCE = 7
OURS = Multiaddr.from_text("/ip4/5.6.7.8/tcp/4001")
OTHERS = Multiaddr.from_text("/ip4/9.9.9.9/tcp/4001")
ASKER = RemotePeer.at(PEERS[0].peer_id, OURS)


def seeds() -> list[bytes]:
    """Bodies, without the length in front."""
    told = [DialResponse(status, 0, dialed) for status in ResponseStatus for dialed in DialStatus]
    frames = [
        request_frame([OURS], NONCE),
        request_frame([OTHERS, OURS], NONCE),
        data_request_frame(DataRequest(0, 30_000)),
        data_frame(100),
        *map(response_frame, told),
    ]
    return [one[1:] for one in frames]


def message(data: bytes) -> object:
    """A server and a client take it; neither sends more than the protocol allows."""
    server = DialServer(lambda count: b"\x80" * count, lambda addr: addr.host_port() is not None)
    session, ask = server.open(ASKER, START), DialAsk([OURS], NONCE)
    try:
        found = decode(data)
        for end in (lambda: session.feed(frame(data), START), lambda: b"".join(ask.feed(frame(data)))):
            with suppress(PeerFault):
                assert len(end()) < MAX_DATA_BYTES + 1_000
        assert session.dial is None or session.dial.peer == ASKER.peer_id
        ask.verdict()
        return type(found).__name__
    finally:
        session.close()


def dial_back(data: bytes) -> object:
    """Only the nonce that is waited for is answered."""
    asks = PendingAsks(lambda one: None)
    asks.add(DialAsk([OURS], NONCE))
    nonce = decode_dial_back(data)
    answer = DialBackResponder(ASKER, asks).on_data(frame(data), START)
    assert nonce == NONCE
    assert answer == b"\0"
    return nonce


TARGETS: tuple[Target, ...] = (
    Target(
        "autonat-message",
        "fastmarket.libp2p.autonat.messages.decode",
        seeds,
        message,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=decode,
    ),
    Target(
        "autonat-dial-back",
        "fastmarket.libp2p.autonat.client.DialBackResponder.on_data",
        lambda: [dial_back_frame(NONCE)[1:], dial_back_frame(NONCE + 1)[1:]],
        dial_back,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=decode_dial_back,
    ),
)
