"""The simulator's bytes against real connections."""

from __future__ import annotations

from collections.abc import Iterator

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import encode_peer_record
from fastmarket.formats.varint import frame
from fastmarket.libp2p.identify import IDENTIFY_PROTOCOL, PUSH_PROTOCOL, IdentifyInfo, IdentifyResponder
from fastmarket.libp2p.identify import encode_identify as encode
from fastmarket.libp2p.ping import PING_PROTOCOL
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.sim.traffic import CONNECTION_BYTES
from tests.reference.sim_net import wire_bytes
from tests.unit.libp2p.pair import Pair, endpoint_of, identity_of

KAD = "/fastmarket/kad/1.0.0"
OFFER = "/fastmarket/offer/1.0.0"
REPLY = bytes(900)


def _endpoint(seed: int) -> NoiseEndpoint:
    identity = identity_of(seed)
    addrs = (Multiaddr.from_text(f"/ip4/203.0.113.{seed}/tcp/16899"),)
    message = encode(
        IdentifyInfo(
            public_key=identity.public_key,
            listen_addrs=addrs,
            protocols=(IDENTIFY_PROTOCOL, PUSH_PROTOCOL, PING_PROTOCOL, KAD, OFFER),
            observed_addr=addrs[0],
            protocol_version="/fastmarket/id/1.0.0",
            agent_version="fastmarket/0.1.0",
            signed_peer_record=encode_peer_record(identity, addrs, 1_700_000_000),
        )
    )
    protocols = {
        IDENTIFY_PROTOCOL: IdentifyResponder.factory(lambda peer: message),
        KAD: RpcResponder.factory(lambda peer, request, now: REPLY, 1 << 16),
    }
    return endpoint_of(seed, protocols)


def test_a_connection_and_a_request_cost_what_the_simulator_says() -> None:
    moved = 0

    def counting(data: bytes) -> Iterator[bytes]:
        nonlocal moved
        moved += len(data)
        yield data

    pair = Pair(dialer=_endpoint(1), listener=_endpoint(2), split=counting).open()
    for connection in (pair.dialer, pair.listener):
        stream_id = connection.open_stream([IDENTIFY_PROTOCOL], pair.now, lazy=True)
        connection.close_write(stream_id, pair.now)
    pair.run()
    assert 0.9 * CONNECTION_BYTES < moved < 1.1 * CONNECTION_BYTES, moved

    stream_id = pair.dialer.open_stream([KAD], pair.now, lazy=True)
    request = bytes(38)
    pair.dialer.send(stream_id, frame(request), pair.now)
    pair.run()  # with the stream's negotiation
    moved = 0
    pair.dialer.send(stream_id, frame(request), pair.now)
    pair.run()
    assert moved <= wire_bytes(request) + wire_bytes(REPLY)
    assert moved > 0.9 * (wire_bytes(request) + wire_bytes(REPLY)), moved
