from __future__ import annotations

import pytest

from fastmarket.config import ConnectionConfig
from fastmarket.errors import ConnectionLost, StreamFailed
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.events import (
    Closed,
    NegotiationFailed,
    Opened,
    PingAnswered,
    ResponderFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReady,
    StreamReset,
)
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from tests.unit.libp2p.pair import ECHO, RAW, START, Pair, endpoint_of, identity_of


def data_of(events: list[object], stream_id: int) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, StreamData) and e.stream_id == stream_id)


def test_both_sides_open_and_know_each_other() -> None:
    pair = Pair(expected=identity_of(2).peer_id)
    dialer, listener = pair.run()
    assert dialer == [Opened(identity_of(2).peer_id)]
    assert listener == [Opened(identity_of(1).peer_id)]
    assert pair.dialer.state is pair.listener.state is ConnectionState.OPEN


def test_the_upgrade_takes_two_round_trips() -> None:
    pair = Pair()
    turns = 0
    while pair.dialer.remote_peer is None:
        pair.listener.receive_data(pair.dialer.data_to_send(), START)
        pair.dialer.receive_data(pair.listener.data_to_send(), START)
        turns += 1
    assert turns == 1  # the dialer may write behind its third message at once
    pair.listener.receive_data(pair.dialer.data_to_send(), START)
    assert pair.listener.state is ConnectionState.OPEN


def test_another_peer_than_expected_is_refused() -> None:
    pair = Pair(expected=identity_of(3).peer_id)
    dialer, _ = pair.run()
    assert isinstance(dialer[-1], Closed)
    assert dialer[-1].fault is not None
    assert pair.listener.remote_peer is None


@pytest.mark.parametrize("lazy", [False, True])
def test_request_and_reply(lazy: bool) -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=lazy)
    if not lazy:
        assert pair.run()[0] == [StreamReady(stream, ECHO)]
    pair.dialer.send(stream, frame(b"hello"), pair.now)
    events, _ = pair.run()
    assert data_of(events, stream) == frame(b"re:hello")
    assert (StreamReady(stream, ECHO) in events) == lazy
    pair.dialer.send(stream, frame(b"a") + frame(b"b"), pair.now)
    assert data_of(pair.run()[0], stream) == frame(b"re:a") + frame(b"re:b")


def test_lazy_proposal_and_first_data_share_one_frame() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=True)
    pair.dialer.send(stream, frame(b"hello"), pair.now)
    plain = bytes(pair.dialer._session.mux.out)  # type: ignore[union-attr]
    assert plain.count(b"\x00\x00\x00\x00\x00\x00\x00\x01") == 1  # one data frame for stream 1, besides SYN


def test_proposals_are_tried_in_order() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream(["/none/1", "/none/2", ECHO], pair.now)
    assert pair.run()[0] == [StreamReady(stream, ECHO)]


@pytest.mark.parametrize("lazy", [False, True])
def test_nothing_supported(lazy: bool) -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream(["/none/1"], pair.now, lazy=lazy)
    if lazy:
        pair.dialer.send(stream, b"x" * 100, pair.now)
    assert NegotiationFailed(stream) in pair.run()[0]
    assert pair.dialer.stream_count == pair.listener.stream_count == 0


def test_event_streams_both_ways_and_half_close() -> None:
    pair = Pair().open()
    stream = pair.listener.open_stream([RAW], pair.now)
    dialer, listener = pair.run()
    assert dialer == [StreamOpened(stream, RAW)]
    assert listener == [StreamReady(stream, RAW)]
    pair.listener.send(stream, b"ask", pair.now)
    pair.listener.close_write(stream, pair.now)
    assert pair.run()[0] == [StreamData(stream, b"ask"), StreamEnded(stream)]
    pair.dialer.send(stream, b"answer", pair.now)
    pair.dialer.close_write(stream, pair.now)
    assert pair.run()[1] == [StreamData(stream, b"answer"), StreamEnded(stream)]
    assert pair.dialer.stream_count == pair.listener.stream_count == 0
    with pytest.raises(StreamFailed):
        pair.dialer.send(stream, b"late", pair.now)


def test_reset_reaches_the_other_side() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([RAW], pair.now)
    pair.run()
    pair.dialer.reset(stream, pair.now)
    assert pair.run() == ([], [StreamReset(stream, "reset by peer")])


def test_a_large_transfer_respects_the_window() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([RAW], pair.now)
    pair.run()
    blob = bytes(range(256)) * 8192  # 2 MiB
    pair.dialer.send(stream, blob, pair.now)
    pair.dialer.close_write(stream, pair.now)
    got = b""
    while len(got) < len(blob):
        piece = data_of(pair.run()[1], stream)
        assert 0 < len(piece) <= 256 << 10
        got += piece
        pair.listener.consumed(stream, len(piece), pair.now)
    assert got == blob
    pair.run()
    assert StreamEnded(stream) in pair.listener_events


@pytest.mark.parametrize("before", [[], [b"x"], [b"silent"]])
def test_a_stream_lives_on_after_a_request_without_reply(before: list[bytes]) -> None:
    """As long as any idle one; whatever came on it before."""
    pair = Pair().open()
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=True)
    for request in (*before, b"silent"):
        pair.dialer.send(stream, frame(request), pair.now)
        pair.run()
    assert not pair.listener.has_active_streams(0)  # it does not keep its connection
    assert StreamEnded(stream) not in pair.advance(59)[0]
    pair.dialer.send(stream, frame(b"again"), pair.now)
    assert data_of(pair.run()[0], stream).endswith(frame(b"re:again"))
    pair.dialer.send(stream, frame(b"silent"), pair.now)
    assert pair.run()[0] == []
    assert StreamReset(stream, "reset by peer") not in pair.advance(59)[0]
    assert StreamReset(stream, "reset by peer") in pair.advance(2)[0]


def test_what_comes_in_part_behind_a_whole_request_is_counted() -> None:
    """With a reply or without: else each stream could hold a request, and nobody would know."""
    bound = 3000
    config = ConnectionConfig(max_held_bytes=bound)
    for first in (b"silent", b"x"):
        pair = Pair(listener=endpoint_of(2, config=config)).open()
        streams = [pair.dialer.open_stream([ECHO], pair.now, lazy=True) for _ in range(4)]
        for stream in streams:
            pair.dialer.send(stream, frame(first) + frame(bytes(2000))[:1000], pair.now)
            pair.run()
        held = [
            stream for stream in streams if StreamReset(stream, "reset by peer") not in pair.dialer_events
        ]
        assert 0 < len(held) < len(streams)


def test_idle_inbound_streams_are_given_up() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=True)
    pair.dialer.send(stream, frame(b"x"), pair.now)
    pair.run()
    assert StreamReset(stream, "reset by peer") not in pair.advance(59)[0]
    assert StreamReset(stream, "reset by peer") in pair.advance(2)[0]


def test_a_silent_negotiation_is_given_up_by_both_sides() -> None:
    pair = Pair().open()
    pair.dialer._session.mux.open()  # type: ignore[union-attr]
    pair.run()
    assert pair.listener.stream_count == 1
    pair.advance(10.5)
    assert pair.listener.stream_count == 0


def test_handshake_timeout() -> None:
    connection = Connection(endpoint_of(1), Role.DIALER, now=START)
    assert connection.next_timer() == START + 10
    connection.handle_timer(START + 10)
    event = connection.next_event()
    assert isinstance(event, Closed)
    assert connection.next_timer() is None


def test_keepalive_and_a_dead_peer() -> None:
    pair = Pair().open()
    pair.advance(300)
    assert pair.dialer.state is ConnectionState.OPEN
    due = pair.dialer.next_timer()
    assert due is not None
    pair.dialer.handle_timer(due)
    assert pair.dialer.data_to_send()  # the ping, which nobody answers
    due = pair.dialer.next_timer()
    assert due is not None
    pair.dialer.handle_timer(due)
    assert isinstance(pair.dialer.next_event(), Closed)


def test_ping_measures_the_round_trip() -> None:
    pair = Pair().open()
    pair.dialer.ping(pair.now)
    pair.listener.receive_data(pair.dialer.data_to_send(), pair.now)
    pair.now += 0.25
    assert pair.run()[0] == [PingAnswered(0.25)]


def test_close_is_orderly() -> None:
    pair = Pair().open()
    pair.dialer.close(pair.now)
    pair.run()
    assert pair.dialer_events[-1] == Closed("closed by us", None)
    with pytest.raises(ConnectionLost):
        pair.listener.open_stream([ECHO], pair.now)
    pair.listener.receive_eof(pair.now)
    pair.run()
    assert pair.listener_events[-1] == Closed("closed by the peer", None)
    assert pair.listener.next_timer() is None


def test_a_bug_in_a_responder_is_shown_and_costs_one_stream() -> None:
    def broken(peer: RemotePeer, request: bytes, now: float) -> bytes:
        raise ZeroDivisionError

    pair = Pair(listener=endpoint_of(2, {"/broken/1": RpcResponder.factory(broken, 100)})).open()
    stream = pair.dialer.open_stream(["/broken/1"], pair.now, lazy=True)
    pair.dialer.send(stream, frame(b"x"), pair.now)
    dialer, listener = pair.run()
    assert StreamReset(stream, "reset by peer") in dialer
    failed = listener[-1]
    assert isinstance(failed, ResponderFailed)
    assert isinstance(failed.error, ZeroDivisionError)
    assert pair.listener.state is ConnectionState.OPEN


def test_a_request_too_long_resets_its_stream_only() -> None:
    pair = Pair().open()
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=True)
    pair.dialer.send(stream, frame(b"x" * 70_000)[:1000], pair.now)
    dialer, _ = pair.run()
    assert StreamReset(stream, "reset by peer") in dialer
    assert pair.listener.state is ConnectionState.OPEN


def test_requests_that_come_with_the_end_of_the_handshake_wait_for_their_turn() -> None:
    """While others have theirs; else each new connection would bring its own ahead of them."""
    pair = Pair()
    answers = 0
    while pair.dialer.state is not ConnectionState.OPEN:
        pair.listener.receive_data(pair.dialer.data_to_send(), pair.now)
        pair.dialer.receive_data(pair.listener.data_to_send(), pair.now)
    stream = pair.dialer.open_stream([ECHO], pair.now, lazy=True)
    for _ in range(100):
        pair.dialer.send(stream, frame(b"request"), pair.now)
    pair.listener.postpone(pair.dialer.data_to_send(), pair.now)
    assert pair.listener.state is ConnectionState.OPEN
    assert pair.listener.stream_count == 0
    assert pair.listener.is_resumable
    while pair.listener.resume(pair.now):
        answers += 1
    assert answers
    assert data_of(pair.run()[0], stream) == frame(b"re:request") * 100
