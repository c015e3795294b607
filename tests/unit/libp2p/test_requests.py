from __future__ import annotations

import pytest

from fastmarket.config import ConnectionConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.events import StreamOpened
from fastmarket.libp2p.requests import Failed, Reply, RequestPool, RequestResult
from fastmarket.libp2p.streams import RpcResponder
from tests.unit.libp2p.pair import ECHO, RAW, Pair, Protocols, echo, endpoint_of

OTHER = "/test/other/1"


class Requester:
    """A pair whose dialer asks through a pool."""

    def __init__(
        self,
        protocols: Protocols | None = None,
        *,
        known: bool = True,
        config: ConnectionConfig | None = None,
    ) -> None:
        served = {ECHO: RpcResponder.factory(echo, 1 << 16), RAW: None} if protocols is None else protocols
        self.pair = Pair(dialer=endpoint_of(1, {}, config), listener=endpoint_of(2, served, config)).open()
        self.pool = RequestPool(self.pair.dialer)
        if known:
            self.pool.set_protocols(frozenset(served))

    def ask(self, request_id: int, *choices: Choice, timeout_s: float = 5.0) -> None:
        self.pool.request(request_id, choices, self.pair.now, self.pair.now + timeout_s)

    def run(self) -> list[RequestResult]:
        outcomes = self.pool.poll_outcomes()
        while True:
            events, _ = self.pair.run()
            for event in events:
                self.pool.feed(event, self.pair.now)
            outcomes += self.pool.poll_outcomes()
            if not events and not self.pair.dialer.unsent_bytes:
                return outcomes

    def wait(self, seconds: float) -> list[RequestResult]:
        outcomes = self.run()
        until = self.pair.now + seconds
        while (due := self.pool.next_timer()) is not None and due <= until:
            self.pair.now = due
            self.pool.handle_timer(due)
            outcomes += self.run()
        self.pair.now = until
        return outcomes

    @property
    def streams(self) -> int:
        return self.pair.listener.stream_count

    def raw_stream(self) -> int:
        """The id of the last stream the listener got as events."""
        return [e.stream_id for e in self.pair.listener_events if isinstance(e, StreamOpened)][-1]


def choice(text: str, protocol: str = ECHO, *, expects_reply: bool = True) -> Choice:
    return Choice(protocol, text.encode(), expects_reply)


@pytest.mark.parametrize("known", [True, False])
def test_replies_come_with_their_protocol(known: bool) -> None:
    asker = Requester(known=known)
    for n in range(3):
        asker.ask(n, choice(f"q{n}"))
    assert asker.run() == [Reply(n, ECHO, b"re:q%d" % n) for n in range(3)]
    assert asker.pool.pending_count == 0


@pytest.mark.parametrize("known", [True, False])
def test_the_first_supported_choice_is_taken(known: bool) -> None:
    asker = Requester(known=known)
    asker.ask(1, choice("a", OTHER), choice("b"))
    assert asker.run() == [Reply(1, ECHO, b"re:b")]
    asker.ask(2, choice("c", OTHER), choice("d"))  # and now it is known, without another refusal
    assert asker.run() == [Reply(2, ECHO, b"re:d")]
    assert asker.streams == 1


@pytest.mark.parametrize("known", [True, False])
def test_no_choice_supported(known: bool) -> None:
    asker = Requester(known=known)
    asker.ask(1, choice("a", OTHER))
    assert asker.run() == [Failed(1, FailureKind.REFUSED)]


def test_a_protocol_wrongly_listed_gives_way_to_the_next() -> None:
    asker = Requester()
    asker.pool.set_protocols(frozenset([OTHER, ECHO]))
    asker.ask(1, choice("a", OTHER), choice("b"))
    assert asker.run() == [Reply(1, ECHO, b"re:b")]


def test_streams_are_used_again_and_let_go_when_idle() -> None:
    asker = Requester()
    for n in range(5):
        asker.ask(n, choice("x"))
        assert asker.run() == [Reply(n, ECHO, b"re:x")]
        assert asker.streams == 1
    asker.wait(46)
    assert asker.streams == 0


def test_more_requests_than_streams_wait_their_turn() -> None:
    asker = Requester(config=ConnectionConfig(request_streams=2, request_queue=5))
    for n in range(9):
        asker.ask(n, choice(str(n)))
    assert asker.pool.pending_count == 7
    outcomes = asker.run()
    assert sorted(o.request_id for o in outcomes if isinstance(o, Reply)) == list(range(7))
    assert [o for o in outcomes if isinstance(o, Failed)] == [Failed(n, FailureKind.BUSY) for n in (7, 8)]
    assert asker.streams == 2


def test_the_deadline_then_a_late_reply() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW))
    assert asker.wait(6) == [Failed(1, FailureKind.TIMEOUT)]
    asker.pair.listener.send(asker.raw_stream(), frame(b"late"), asker.pair.now)
    assert asker.run() == [Reply(1, RAW, b"late", late=True)]


def test_the_grace_ends() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW))
    assert asker.wait(16) == [Failed(1, FailureKind.TIMEOUT)]
    assert asker.streams == 0
    assert asker.pool.pending_count == 0


def test_a_timed_out_request_frees_its_place() -> None:
    asker = Requester(config=ConnectionConfig(request_streams=1))
    asker.ask(1, choice("x", RAW), timeout_s=1.0)
    asker.ask(2, choice("y", RAW))
    asker.run()
    assert asker.streams == 1
    assert asker.wait(1.5) == [Failed(1, FailureKind.TIMEOUT)]
    assert asker.streams == 2


def test_a_queued_request_times_out() -> None:
    asker = Requester(config=ConnectionConfig(request_streams=1))
    asker.ask(1, choice("x", RAW), timeout_s=9.0)
    asker.ask(2, choice("y", RAW), timeout_s=1.0)
    assert asker.wait(2) == [Failed(2, FailureKind.TIMEOUT)]


def test_a_kept_stream_that_died_is_replaced_once() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW))
    asker.run()
    first = asker.raw_stream()
    asker.pair.listener.send(first, frame(b"1"), asker.pair.now)
    assert asker.run() == [Reply(1, RAW, b"1")]
    asker.ask(2, choice("y", RAW))
    asker.pair.listener.reset(first, asker.pair.now)  # crosses the request
    assert asker.run() == []
    second = asker.raw_stream()
    assert second != first
    asker.pair.listener.reset(second, asker.pair.now)
    assert asker.run() == [Failed(2, FailureKind.RESET)]


def test_a_stream_dead_before_its_first_reply_is_not_tried_again() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW))
    asker.run()
    asker.pair.listener.close_write(asker.raw_stream(), asker.pair.now)
    assert asker.run() == [Failed(1, FailureKind.RESET)]


@pytest.mark.parametrize("known", [True, False])
def test_a_request_without_reply_is_done_when_written(known: bool) -> None:
    asker = Requester(known=known)
    asker.ask(1, choice("silent", expects_reply=False))
    assert asker.run() == [Reply(1, ECHO, b"")]
    assert asker.streams == 0
    assert asker.pair.dialer.stream_count == 0


def test_a_kept_stream_that_carried_a_request_without_reply_is_used_again() -> None:
    asker = Requester()
    asker.ask(1, choice("first"))
    assert asker.run() == [Reply(1, ECHO, b"re:first")]
    asker.ask(2, choice("silent", expects_reply=False))
    assert asker.run() == [Reply(2, ECHO, b"")]
    asker.ask(3, choice("third"))
    assert asker.run() == [Reply(3, ECHO, b"re:third")]
    assert asker.streams == 1


def test_a_peer_that_never_closes_does_not_hold_the_stream() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW, expects_reply=False))
    assert asker.run() == [Reply(1, RAW, b"")]
    assert asker.pair.dialer.stream_count == 1
    asker.wait(11)
    assert asker.pair.dialer.stream_count == 0


def test_replies_nobody_asked_for_are_a_fault() -> None:
    asker = Requester()
    asker.ask(1, choice("x", RAW))
    asker.run()
    asker.pair.listener.send(asker.raw_stream(), frame(b"1") + frame(b"2"), asker.pair.now)
    assert asker.run() == [Failed(1, FailureKind.PEER_FAULT)]
    assert asker.pair.dialer.remote_peer is not None
    assert asker.streams == 0


def test_a_reply_too_long_is_a_fault() -> None:
    asker = Requester(config=ConnectionConfig(max_reply_bytes=100))
    asker.ask(1, choice("x" * 200))
    assert asker.run() == [Failed(1, FailureKind.PEER_FAULT)]


def test_the_end_of_the_connection_fails_all() -> None:
    asker = Requester(config=ConnectionConfig(request_streams=1))
    asker.ask(1, choice("x", RAW))
    asker.ask(2, choice("y", RAW))
    asker.run()
    asker.pair.dialer.receive_eof(asker.pair.now)
    assert asker.run() == [Failed(2, FailureKind.CLOSED, unsent=True), Failed(1, FailureKind.CLOSED)]
    asker.ask(3, choice("z"))
    assert asker.run() == [Failed(3, FailureKind.CLOSED, unsent=True)]
    assert asker.pool.next_timer() is None


def test_requests_made_before_the_handshake_wait_for_it() -> None:
    pair = Pair()
    pool = RequestPool(pair.dialer)
    pool.request(1, (choice("early"),), pair.now, pair.now + 5)
    outcomes: list[RequestResult] = []
    while not outcomes:
        for event in pair.run()[0]:
            pool.feed(event, pair.now)
        outcomes = pool.poll_outcomes()
    assert outcomes == [Reply(1, ECHO, b"re:early")]


def test_every_stream_in_use_is_counted_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
        raise ValueError

    asker = Requester({OTHER: RpcResponder.factory(faulty, 100), ECHO: RpcResponder.factory(echo, 100)})
    for n in range(100):
        asker.ask(n, choice("x", OTHER))
        assert asker.run() == [Failed(n, FailureKind.RESET)]
    assert asker.pair.dialer.stream_count == asker.streams == 0
    assert set(asker.pool._slots.values()) == {0}


def test_a_new_connection_answers_a_request_in_two_round_trips() -> None:
    """After TCP's own: /noise proposed with the first Noise message, the request behind the last one."""
    pair = Pair()
    pool = RequestPool(pair.dialer)
    pool.request(1, [choice("first")], pair.now, pair.now + 5)
    for _ in range(2):
        pair.listener.receive_data(pair.dialer.data_to_send(), pair.now)
        pair.dialer.receive_data(pair.listener.data_to_send(), pair.now)
        while (event := pair.dialer.next_event()) is not None:
            pool.feed(event, pair.now)
    assert pool.poll_outcomes() == [Reply(1, ECHO, b"re:first")]


def reset_unanswered(asker: Requester) -> None:
    """The listener resets the asker's new stream, and nothing it had to say of it leaves."""
    pair = asker.pair
    pair.listener.receive_data(pair.dialer.data_to_send(), pair.now)
    pair._collect()
    assert pair.listener._session is not None
    pair.listener._session.mux.out.clear()
    pair.listener.reset(asker.raw_stream(), pair.now)


def test_a_listener_that_resets_an_unknown_protocol_is_asked_in_the_next() -> None:
    asker = Requester(known=False)
    asker.ask(1, choice("a", RAW), choice("b"))
    reset_unanswered(asker)
    assert asker.run() == [Reply(1, ECHO, b"re:b")]


def test_a_reset_before_any_agreement_fails_a_request_without_alternative() -> None:
    asker = Requester(known=False)
    asker.ask(1, choice("a", RAW))
    reset_unanswered(asker)
    assert asker.run() == [Failed(1, FailureKind.RESET)]
