from __future__ import annotations

import struct

import pytest

from fastmarket.config import ConnectionConfig
from fastmarket.errors import CallerFault, ConnectionLost, LimitExceeded, PeerFault
from fastmarket.libp2p.mux_stream import INITIAL_WINDOW_BYTES, MuxStream
from fastmarket.libp2p.tcp.yamux import MAX_IDLE_FRAMES, GoAway, SessionState, Yamux

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
NOW = 0.0


def packed(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return packed(DATA, flags, stream, len(body), body)


class Log:
    """A sink that writes down what it gets; it is done with `share` of every byte at once."""

    def __init__(self, share: bool = True) -> None:
        self.share = share
        self.got = b""
        self.notes: list[str] = []

    def received(self, data: bytes, now: float) -> int:
        self.got += data
        return len(data) if self.share else 0

    def ended(self, now: float) -> None:
        self.notes.append("ended")

    def lost(self, reason: str, now: float) -> None:
        self.notes.append(reason)

    def drained(self, now: float) -> None:
        self.notes.append("drained")

    def gone(self) -> None: ...


class Side:
    """A session (the listening one by default) whose inbound streams go to logs."""

    def __init__(self, *, dialer: bool = False, share: bool = True, config: ConnectionConfig | None = None):
        self.share = share
        self.logs: dict[int, Log] = {}
        self.pongs: list[int] = []
        self.away: list[int] = []
        self.mux = Yamux(config or ConnectionConfig(), self, dialer=dialer)

    def accept(self, stream: MuxStream, now: float) -> Log:
        self.logs[stream.stream_id] = log = Log(self.share)
        return log

    def on_pong(self, value: int, now: float) -> None:
        self.pongs.append(value)

    def on_go_away(self, code: int, now: float) -> None:
        self.away.append(code)

    def relieve(self) -> bool:
        return False

    def take(self) -> bytes:
        out = bytes(self.mux.out)
        self.mux.out.clear()
        return out

    def feed(self, *frames: bytes) -> bytes:
        self.mux.receive(b"".join(frames), NOW)
        return self.take()


def test_a_stream_from_syn_to_both_ends() -> None:
    side = Side()
    assert side.feed(packed(DATA, SYN, 1, 0), data(1, b"hello")) == packed(DATA, ACK, 1, 0)
    assert side.logs[1].got == b"hello"
    stream = side.mux.streams[1]
    side.mux.write(stream, b"world")
    side.mux.finish(stream)
    assert side.take() == data(1, b"world") + packed(DATA, FIN, 1, 0)
    side.feed(data(1, b"bye", FIN))
    assert side.logs[1].got == b"hellobye"
    assert side.logs[1].notes == ["ended"]
    assert not side.mux.streams


@pytest.mark.parametrize("frame", [packed(WINDOW, SYN, 3, 1000), data(3, b"early", SYN)])
def test_both_ways_to_open(frame: bytes) -> None:
    side = Side()
    assert side.feed(frame) == packed(DATA, ACK, 3, 0)
    assert side.logs[3].got == frame[12:]


def test_outbound_streams_have_our_ids_and_go_apart_from_data() -> None:
    for dialer, ids in ((True, [1, 3]), (False, [2, 4])):
        side = Side(dialer=dialer)
        streams = [side.mux.open(), side.mux.open()]
        assert [s.stream_id for s in streams] == ids
        side.mux.write(streams[0], b"x")
        assert side.take() == packed(DATA, SYN, ids[0], 0) + packed(DATA, SYN, ids[1], 0) + data(ids[0], b"x")


def test_a_frame_may_come_in_any_pieces() -> None:
    side = Side()
    wire = data(1, b"a" * 100, SYN) + data(1, b"b" * 100, FIN) + packed(PING, SYN, 0, 7)
    for byte in wire:
        side.mux.receive(bytes([byte]), NOW)
    assert side.logs[1].got == b"a" * 100 + b"b" * 100
    assert side.logs[1].notes == ["ended"]
    assert side.take().endswith(packed(PING, ACK, 0, 7))


def test_consumed_bytes_are_given_back_in_large_updates() -> None:
    side = Side()
    piece = data(1, bytes(32 << 10))
    out = side.feed(packed(DATA, SYN, 1, 0), piece, piece, piece)
    assert out == packed(DATA, ACK, 1, 0)
    assert side.feed(piece) == packed(WINDOW, 0, 1, 128 << 10)
    assert side.mux.streams[1].recv_window == INITIAL_WINDOW_BYTES


def test_the_window_binds_the_peer() -> None:
    side = Side(share=False)
    side.feed(packed(DATA, SYN, 1, 0), data(1, bytes(INITIAL_WINDOW_BYTES)))
    side.mux.consumed(side.mux.streams[1], 200_000)
    assert side.take() == packed(WINDOW, 0, 1, 200_000)
    with pytest.raises(LimitExceeded):
        side.feed(packed(DATA, 0, 1, 200_001))  # by its header alone


def test_the_window_binds_us() -> None:
    side = Side(dialer=True)
    stream, log = side.mux.open(), Log()
    stream.sink = log
    side.mux.write(stream, bytes(300 << 10))
    side.mux.finish(stream)
    assert side.take().count(bytes(1000)) >= 256
    assert side.mux.blocked_bytes == 44 << 10
    out = side.feed(packed(WINDOW, ACK, 1, 40 << 10))
    assert len(out) == 12 + (40 << 10)
    assert log.notes == []
    out = side.feed(packed(WINDOW, 0, 1, 40 << 10))
    assert out == data(1, bytes(4 << 10)) + packed(DATA, FIN, 1, 0)
    assert log.notes == ["drained"]
    with pytest.raises(CallerFault):
        side.mux.write(stream, b"more")


def test_reset_both_ways() -> None:
    side = Side()
    side.feed(packed(DATA, SYN, 1, 0), packed(DATA, SYN, 3, 0), packed(DATA, RST, 1, 0))
    assert side.logs[1].notes == ["reset by peer"]
    side.mux.reset(side.mux.streams[3])
    assert side.take() == packed(DATA, RST, 3, 0)
    assert side.logs[3].notes == []
    assert side.feed(data(3, b"was under way"), data(1, b"so was this", FIN), packed(WINDOW, 0, 3, 5)) == b""
    assert side.mux.state is SessionState.OPEN


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">BBHII", 1, DATA, 0, 1, 0),  # version
        packed(4, 0, 1, 0),  # type
        packed(DATA, SYN, 0, 0),  # the session's id
        packed(WINDOW, 0, 0, 1),
        packed(PING, SYN, 1, 0),
        packed(GO_AWAY, 0, 1, 0),
        packed(DATA, SYN, 2, 0),  # our parity
        data(5, b"never opened"),
        packed(WINDOW, 0, 2, 9),
        data(1, b"x") + packed(DATA, SYN, 1, 0),  # open already
        packed(DATA, SYN, 3, INITIAL_WINDOW_BYTES + 1),
        packed(DATA, FIN, 1, 0) + data(1, b"after the end"),
    ],
)
def test_broken_rules_end_the_session(frame: bytes) -> None:
    side = Side()
    side.feed(packed(DATA, SYN, 1, 0))
    with pytest.raises(PeerFault):
        side.feed(frame)


def test_inbound_streams_are_bounded() -> None:
    side = Side(config=ConnectionConfig(max_inbound_streams=2))
    out = side.feed(*(packed(DATA, SYN, n, 0) for n in (1, 3, 5)), data(5, bytes(1000)))
    assert out == packed(DATA, ACK, 1, 0) + packed(DATA, ACK, 3, 0) + packed(DATA, RST, 5, 0)
    side.feed(packed(DATA, RST, 1, 0))
    assert side.feed(packed(DATA, SYN, 7, 0)) == packed(DATA, ACK, 7, 0)


def test_outbound_streams_are_bounded() -> None:
    side = Side(dialer=True, config=ConnectionConfig(max_unacknowledged_streams=2, max_outbound_streams=3))
    first = side.mux.open()
    side.mux.open()
    with pytest.raises(LimitExceeded):
        side.mux.open()
    side.feed(packed(DATA, ACK, 1, 0))
    side.mux.open()
    side.feed(packed(WINDOW, ACK, 3, 0))
    with pytest.raises(LimitExceeded):
        side.mux.open()
    side.mux.reset(first)
    side.mux.open()


def test_floods_are_bounded() -> None:
    for frame in (packed(DATA, 0, 1, 0), packed(WINDOW, 0, 1, 0)):
        side = Side()
        side.feed(packed(DATA, SYN, 1, 0), frame * MAX_IDLE_FRAMES, data(1, b"x"), frame * MAX_IDLE_FRAMES)
        with pytest.raises(LimitExceeded):
            side.feed(frame)
    side = Side()
    side.feed(packed(DATA, SYN, 1, 0), packed(DATA, RST, 1, 0))
    with pytest.raises(LimitExceeded):
        side.feed(data(1, bytes(64)) * 10_000)


def test_pings_stall_until_their_answers_are_taken() -> None:
    side = Side(config=ConnectionConfig(max_unsent_bytes=1200))
    side.mux.receive(b"".join(packed(PING, SYN, 0, n) for n in range(500)), NOW)
    assert side.mux.stalled
    assert len(side.mux.out) <= 1212
    answers = side.take()
    while side.mux.stalled:
        side.mux.resume(NOW)
        answers += side.take()
    assert answers == b"".join(packed(PING, ACK, 0, n) for n in range(500))


def test_ping_and_go_away() -> None:
    side = Side()
    side.mux.ping(9)
    assert side.take() == packed(PING, SYN, 0, 9)
    side.feed(packed(PING, ACK, 0, 9), packed(DATA, SYN, 1, 0), packed(GO_AWAY, 0, 0, 0))
    assert side.pongs == [9]
    assert side.away == [0]
    with pytest.raises(ConnectionLost):
        side.mux.open()
    side.feed(data(1, b"still served"))
    assert side.logs[1].got == b"still served"
    side.mux.close(GoAway.PROTOCOL_ERROR)
    assert side.take() == packed(GO_AWAY, 0, 0, 1)
    assert side.feed(packed(DATA, SYN, 3, 0)) == b""
    assert 3 not in side.logs


def test_ids_run_out() -> None:
    side = Side(dialer=True)
    side.mux._next_id = 2**32 - 1
    side.mux.open()
    with pytest.raises(ConnectionLost):
        side.mux.open()
