"""What one peer can make a connection keep or do, and peers of other kinds."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fastmarket.config import ConnectionConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Closed, Event, StreamData, StreamReady, StreamReset
from fastmarket.libp2p.multistream import HEADER, encode_token
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import KeyPair
from fastmarket.libp2p.tcp.secure import NoiseStatic
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.pb.libp2p.noise_pb2 import NoiseHandshakePayload
from tests.unit.libp2p.pair import ECHO, START, Pair, default_protocols, endpoint_of, identity_of

BIG = "/test/big/1"
REPLY = bytes(10_000)


def big_endpoint(**bounds: int) -> NoiseEndpoint:
    def handle(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
        return REPLY

    return endpoint_of(2, {BIG: RpcResponder.factory(handle, 100)}, ConnectionConfig(**bounds))


def events_of(connection: Connection) -> list[Event]:
    events = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    return events


def test_output_nobody_takes_stops_the_reading() -> None:
    pair = Pair(listener=big_endpoint()).open()
    streams = [pair.dialer.open_stream([BIG], START, lazy=True) for _ in range(40)]
    for stream in streams:
        pair.dialer.send(stream, frame(b"q") * 20, START)
    asked = pair.dialer.data_to_send()
    listener = pair.listener
    listener.receive_data(asked, START)
    assert not listener.wants_read
    assert listener.unsent_bytes < 2 << 20  # of the 8 MB asked for
    timer = listener.next_timer()
    assert timer is not None
    assert timer > START  # nothing to do until output is taken
    got = 0
    while got < 40 * 20 * len(REPLY):
        pair.dialer.receive_data(listener.data_to_send(), START)
        for event in events_of(pair.dialer):
            if isinstance(event, StreamData):
                got += len(event.data)
                pair.dialer.consumed(event.stream_id, len(event.data), START)
        listener.receive_data(pair.dialer.data_to_send(), START)
        timer = listener.next_timer()
        assert timer is not None
        if timer <= START:
            listener.handle_timer(START)
        assert listener.unsent_bytes < 3 << 20
    assert listener.wants_read


def test_requests_of_a_peer_that_reads_nothing_are_held_then_dropped() -> None:
    pair = Pair(listener=big_endpoint(max_held_bytes=20_000)).open()
    stream = pair.dialer.open_stream([BIG], START, lazy=True)
    pair.dialer.send(stream, frame(b"q") * 100, START)
    dialer, _ = pair.run()
    got = sum(len(e.data) for e in dialer if isinstance(e, StreamData))
    assert got == (256 << 10) - len(HEADER + encode_token(BIG))  # the window, no more
    assert 0 < pair.listener.unsent_bytes <= len(frame(REPLY)), "the next answer is not made before"
    for _ in range(9):
        pair.dialer.send(stream, frame(b"q") * 1000, START)
        pair.run()
        assert pair.listener.unsent_bytes <= len(frame(REPLY))
    assert pair.listener.stream_count == 1
    pair.dialer.send(stream, frame(b"q") * 10_000, START)
    assert StreamReset(stream, "reset by peer") in pair.run()[0]
    assert pair.listener.state is ConnectionState.OPEN
    assert pair.listener._session is not None
    assert pair.listener._session.held == 0


def test_held_requests_are_answered_once_the_peer_reads() -> None:
    pair = Pair(listener=big_endpoint()).open()
    stream = pair.dialer.open_stream([BIG], START, lazy=True)
    pair.dialer.send(stream, frame(b"q") * 5000, START)
    pair.dialer.close_write(stream, START)
    got = 0
    while True:
        pieces = [len(e.data) for e in pair.run()[0] if isinstance(e, StreamData)]
        if not pieces:
            break
        got += sum(pieces)
        pair.dialer.consumed(stream, sum(pieces), START)
    assert got == 5000 * len(frame(REPLY))
    assert pair.listener.stream_count == pair.dialer.stream_count == 0


@pytest.mark.parametrize("plain", list(Role))
def test_a_peer_without_early_muxer(plain: Role) -> None:
    """rust-libp2p sends no `stream_muxers`: multistream agrees on yamux inside the channel."""
    ends = {Role.DIALER: endpoint_of(1), Role.LISTENER: endpoint_of(2)}
    config = ConnectionConfig(early_muxer=False)
    ends[plain] = NoiseEndpoint.create(
        Endpoint.create(ends[plain].host.identity, Random(5).randbytes, ends[plain].host.protocols, config)
    )
    pair = Pair(dialer=ends[Role.DIALER], listener=ends[Role.LISTENER]).open()
    assert not pair.dialer.early_muxer
    assert not pair.listener.early_muxer
    stream = pair.dialer.open_stream([ECHO], START)
    assert StreamReady(stream, ECHO) in pair.run()[0]


def foreign_identities() -> list[Identity]:
    keys = [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ]
    return [Identity(key) for key in keys]


@pytest.mark.parametrize("identity", foreign_identities(), ids=["rsa", "ecdsa", "secp256k1"])
def test_peers_with_other_keys(identity: Identity) -> None:
    end = NoiseEndpoint.create(Endpoint.create(identity, Random(3).randbytes, default_protocols()))
    assert Pair(dialer=end).open().listener.remote_peer == identity.peer_id
    assert Pair(listener=end, expected=identity.peer_id).open().dialer.remote_peer == identity.peer_id


@pytest.mark.parametrize("field", ["identity_key", "identity_sig"])
@pytest.mark.parametrize("value", [None, b"", b"\x00" * 64, "mallory"])
def test_an_identity_not_proven_is_refused(field: str, value: object) -> None:
    payload = NoiseHandshakePayload.FromString(endpoint_of(2).static.payload)
    if value == "mallory":
        other = NoiseStatic.create(identity_of(9), Random(9).randbytes)
        value = getattr(NoiseHandshakePayload.FromString(other.payload), field)
    if value is None:
        payload.ClearField(field)  # type: ignore[arg-type]
    else:
        setattr(payload, field, value)
    static = NoiseStatic(KeyPair(bytes(range(32))), payload.SerializeToString())
    if value == "mallory":
        static = dataclasses.replace(static, private=endpoint_of(2).static.private)
    for role in Role:
        liar = dataclasses.replace(endpoint_of(2), static=static)
        pair = Pair(dialer=liar) if role is Role.DIALER else Pair(listener=liar)
        honest = pair.listener if role is Role.DIALER else pair.dialer
        pair.run()
        assert honest.remote_peer is None
        closed = [e for e in pair.dialer_events + pair.listener_events if isinstance(e, Closed)]
        assert any(isinstance(e.fault, PeerFault) for e in closed)


def test_a_handshake_message_too_long_is_refused_by_its_length() -> None:
    pair = Pair()
    pair.listener.receive_data(pair.dialer.data_to_send()[:-34] + b"\xff\xff", START)
    assert isinstance(events_of(pair.listener)[-1], Closed)


def test_streams_beyond_the_bound_are_reset_and_the_rest_served() -> None:
    pair = Pair(listener=endpoint_of(2, config=ConnectionConfig(max_inbound_streams=3))).open()
    streams = [pair.dialer.open_stream([ECHO], START, lazy=True) for _ in range(5)]
    for stream in streams:
        pair.dialer.send(stream, frame(b"x"), START)
    dialer, _ = pair.run()
    assert [s for s in streams if StreamReset(s, "reset by peer") in dialer] == streams[3:]
    assert [s for s in streams if StreamData(s, frame(b"re:x")) in dialer] == streams[:3]


def test_who_was_believed_once_has_to_prove_itself_again() -> None:
    """The same payload under another Noise key is a thief's; what an honest peer showed does not help it."""
    honest = endpoint_of(2)
    assert Pair(dialer=honest).open().listener.remote_peer == honest.host.identity.peer_id
    assert Pair(dialer=honest).open().listener.remote_peer == honest.host.identity.peer_id
    stolen = NoiseStatic(KeyPair(bytes(range(32))), honest.static.payload)
    pair = Pair(dialer=dataclasses.replace(honest, static=stolen))
    pair.run()
    assert pair.listener.state is ConnectionState.CLOSED
    assert pair.listener.remote_peer is None
