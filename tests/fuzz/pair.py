"""A connection between two ends in memory, one of which writes into its streams what it likes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from fastmarket.config import ConnectionConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Closed, ResponderFailed, StreamData
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    PUSH_PROTOCOL,
    IdentifyInfo,
    IdentifyPushResponder,
    IdentifyResponder,
    encode_identify,
)
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.ping import PING_PROTOCOL, PingResponder
from fastmarket.libp2p.streams import ResponderFactory, RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from tests.fuzz.values import ADDRS, ED25519, NOW

RPC: Final = "/fuzz/rpc/1"
EVENTS: Final = "/fuzz/events/1"
MAX_REQUEST: Final = 700
CONFIG: Final = ConnectionConfig(max_unsent_bytes=20_000, max_blocked_bytes=50_000, max_inbound_streams=16)
PATIENCE_S: Final = (1.0, 100.0, 1000.0)  # from now: what is due then
HONEST: Final = b"\x09honest"


def answer(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
    """None, a refusal, a long one, an echo: by the first byte."""
    first = request[0] if request else 5
    if first == 0:
        return None
    if first == 1:
        raise PeerFault("refused")
    return request * (400 if first == 3 else 1)


def endpoint_of(identity: Identity, seed: int) -> NoiseEndpoint:
    """Serves what a host serves."""
    info = IdentifyInfo(identity.public_key, ADDRS[:3], (RPC, EVENTS))
    protocols: dict[str, ResponderFactory | None] = {
        RPC: RpcResponder.factory(answer, MAX_REQUEST),
        EVENTS: None,
        IDENTIFY_PROTOCOL: IdentifyResponder.factory(lambda peer: encode_identify(info)),
        PUSH_PROTOCOL: IdentifyPushResponder.factory(lambda peer, told, now: None),
        PING_PROTOCOL: PingResponder.factory(2, lambda peer: 0),
    }
    return NoiseEndpoint.create(Endpoint.create(identity, Random(seed).randbytes, protocols, CONFIG))


class Pair:
    """The hostile `dialer`, and `listener`, which is ours; open."""

    def __init__(self, listener: NoiseEndpoint, dialer: NoiseEndpoint) -> None:
        self.dialer = Connection(dialer, Role.DIALER, now=NOW, remote_addr=ADDRS[0])
        self.listener = Connection(listener, Role.LISTENER, now=NOW, remote_addr=ADDRS[0])
        self.seen: list[object] = []
        self.settle(NOW)
        assert self.listener.state is ConnectionState.OPEN

    def settle(self, now: float) -> None:
        """Until nothing moves."""
        while True:
            there, back = self.dialer.data_to_send(), self.listener.data_to_send()
            if not there and not back:
                return
            self.listener.receive_data(there, now)
            self.dialer.receive_data(back, now)
            self.collect(now)

    def write(self, plain: bytes, now: float) -> None:
        """Bytes of a peer that keeps no rule, encrypted as they should be. What is answered is seen."""
        cipher = self.dialer.output.cipher
        assert cipher is not None
        if plain:
            self.listener.receive_data(cipher.seal(bytearray(plain)), now)
        self.take(now)

    def take(self, now: float) -> None:
        """Takes what the listener says, as a shell does."""
        self.collect(now)
        while self.listener.is_resumable:
            self.seen.append(len(self.listener.data_to_send()))
            if not self.listener.resume(now):
                break
            self.collect(now)
        self.seen.append(len(self.listener.data_to_send()))
        self.listener.held_bytes  # noqa: B018 - as a shell does after each turn

    def collect(self, now: float) -> None:
        """The events of our end; those of the hostile end are of no interest."""
        while (event := self.listener.next_event()) is not None:
            assert not isinstance(event, ResponderFailed), f"a responder of ours failed: {event}"
            self.seen.append(repr(event))
            if isinstance(event, StreamData):
                self.listener.consumed(event.stream_id, len(event.data), now)
            if isinstance(event, Closed):
                self.listener.release()
        while self.dialer.next_event() is not None:
            pass

    def end(self) -> None:
        """Time passes until nothing is left to wait for; then our end is closed and holds nothing."""
        for later in PATIENCE_S:
            self.listener.handle_timer(NOW + later)
            self.take(NOW + later)
        self.listener.close(NOW + PATIENCE_S[-1])
        self.take(NOW + PATIENCE_S[-1])
        assert self.listener.state is ConnectionState.CLOSED
        assert self.listener.next_timer() is None
        assert self.listener.stream_count == 0

    def is_answered(self) -> bool:
        """Whether an honest request on this connection gets its reply."""
        got: list[bytes] = []
        stream_id = self.dialer.open_stream([RPC], NOW, lazy=True)
        self.dialer.deliver(stream_id, lambda data, now: got.append(data))
        self.dialer.send(stream_id, frame(HONEST), NOW)
        self.settle(NOW)
        return b"".join(got) == frame(HONEST)


def pieces(data: bytes, size: int) -> Sequence[bytes]:
    """Cut, `size` bytes each; 0: whole."""
    size = size or len(data) or 1
    return [data[at : at + size] for at in range(0, len(data), size)]


OURS: Final = endpoint_of(ED25519[0], 1)
THEIRS: Final = endpoint_of(ED25519[3], 2)
