"""fastmarket.native.frames and its plain twin agree, on frames cut and mixed at random."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.config import ConnectionConfig
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import ResponderFailed, StreamData
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp import yamux
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.native import frames
from tests.reference import frames as twin

RPC = "/test/rpc/1"
NOW = 1_000_000.0
LIMIT = 700


def answer(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
    """Long, short, none, a refusal, a bug: by the first byte."""
    first = request[0] if request else 5
    if first == 0:
        return None
    if first == 1:
        raise PeerFault("refused")
    if first == 2:
        raise ZeroDivisionError
    return request * (400 if first == 3 else 1)


class Pair:
    """A dialer and a listener in memory; everything about them is the same every time."""

    def __init__(self) -> None:
        self.ends = []
        for seed, role in ((1, Role.DIALER), (2, Role.LISTENER)):
            identity = Identity.from_seed(bytes([seed]) * 32)
            protocols = {RPC: RpcResponder.factory(answer, LIMIT), "/test/events/1": None}
            config = ConnectionConfig(max_unsent_bytes=20_000, max_blocked_bytes=50_000)
            endpoint = NoiseEndpoint.create(
                Endpoint.create(identity, Random(seed).randbytes, protocols, config)
            )
            self.ends.append(Connection(endpoint, role, now=NOW))
        self.dialer, self.listener = self.ends
        self.seen: list[object] = []

    def exchange(self, random: Random, now: float) -> None:
        """Until nothing moves; the dialer's bytes arrive in pieces of any size."""
        while True:
            data = self.dialer.data_to_send()
            while data:
                cut = random.randint(1, len(data))
                self.listener.receive_data(data[:cut], now)
                data = data[cut:]
            back = self.listener.data_to_send()
            self.listener.handle_timer(now)
            self.dialer.receive_data(back, now)
            self.collect(now)
            if not back and not self.dialer.unsent_bytes and not self.listener.unsent_bytes:
                return

    def collect(self, now: float) -> None:
        while (event := self.dialer.next_event()) is not None:
            self.seen.append(event)
            if isinstance(event, StreamData):
                self.dialer.consumed(event.stream_id, len(event.data), now)
        while (event := self.listener.next_event()) is not None:
            shown = repr(event.error) if isinstance(event, ResponderFailed) else event
            self.seen.append(("listener", shown))
            if isinstance(event, StreamData):
                self.listener.consumed(event.stream_id, len(event.data), now)


def run(seed: int) -> tuple[list[object], object]:
    """What both ends see of a random load: requests whole, in parts, two in a frame, too long, refused."""
    random, pair = Random(seed), Pair()
    pair.exchange(random, NOW)
    streams: list[int] = []
    for turn in range(12):
        now = NOW + turn
        if not streams or random.random() < 0.4:
            name = RPC if random.random() < 0.85 else "/test/events/1"
            streams.append(pair.dialer.open_stream([name], now, lazy=True))
        for _ in range(random.randint(1, 30)):
            stream_id = random.choice(streams)
            kind = random.choice((0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4))
            size = random.choice((1, 2, 38, 38, 38, 127, 128, 300, 699, 700, 701))
            data = frame(bytes([kind]) + random.randbytes(size - 1))
            if random.random() < 0.2:
                data = data[: random.randint(1, len(data))]
            if random.random() < 0.1:
                data += frame(b"\x04second")
            try:
                pair.dialer.send(stream_id, data, now)
                if random.random() < 0.03:
                    pair.dialer.close_write(stream_id, now)
            except FastmarketError:  # gone, or closed by us: the same in both runs
                streams.remove(stream_id)
                if not streams:
                    break
        pair.exchange(random, now)
    session = pair.listener._session
    assert session is not None
    state = (
        session.used_at,
        session.held,
        session.unread,
        {
            number: (s.send_window, s.recv_window, s.credit, s.remote_ended, s.fin_sent)
            for number, s in session.mux.streams.items()
        },
        {number: s.sink.deadline for number, s in session.mux.streams.items()},
    )
    return pair.seen, state


@pytest.mark.parametrize("seed", range(40))
def test_the_compiled_loop_answers_as_the_plain_one(seed, monkeypatch):
    compiled = run(seed)
    monkeypatch.setattr(yamux, "receive_frames", twin.receive_frames)
    monkeypatch.setattr(yamux, "write_frame", twin.write_frame)
    plain = run(seed)
    assert compiled == plain
    assert any(isinstance(event, StreamData) for event in compiled[0])


def test_a_whole_request_is_answered_without_the_sink(monkeypatch):
    """Or the comparison above would compare nothing."""
    served: list[bytes] = []
    pair = Pair()
    random = Random(1)
    pair.exchange(random, NOW)
    stream_id = pair.dialer.open_stream([RPC], NOW, lazy=True)
    pair.dialer.send(stream_id, frame(b"\x04first"), NOW)
    pair.exchange(random, NOW)
    assert pair.listener._session is not None
    sink = pair.listener._session.mux.streams[stream_id].sink
    monkeypatch.setattr(type(sink), "received", lambda self, data, now: served.append(data))
    pair.dialer.send(stream_id, frame(b"\x04second"), NOW + 1)
    pair.exchange(random, NOW + 1)
    assert not served
    assert frame(b"\x04second") in [e.data for e in pair.seen if isinstance(e, StreamData)]
    assert pair.listener.used_at == NOW + 1


def test_a_frame_is_written_as_far_as_the_window_goes():
    stream = frames.StreamState()
    stream.stream_id, stream.send_window, stream.outbox = 0xFFFFFFFF, 5, bytearray()
    out = bytearray(b"before")
    assert not frames.write_frame(out, stream, b"too long")
    assert out == b"before"
    assert frames.write_frame(out, stream, bytearray(b"fits!"))
    assert out == b"before" + bytes.fromhex("00000000 ffffffff 00000005") + b"fits!"
    assert stream.send_window == 0
    stream.outbox += b"waits"
    assert not frames.write_frame(out, stream, b"")
