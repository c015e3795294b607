"""HTTP/1.1 without a socket: framing, pipelining, and what a stranger may send."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.content.port.bounds import MAX_HEADERS, MAX_PIPELINED, MAX_TARGET_BYTES
from fastmarket.content.port.desk import AnswerDesk
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.http1 import Http1Speaker
from fastmarket.content.port.pieces import AnswerCut, FileSlice, read_slice
from fastmarket.content.port.tally import PortTally
from tests.content.port.conftest import TEXT
from tests.content.port.shop import Shop

HEAD_BYTES = 16 * 1024
PROBE = b"GET /ipfs/bafkqaaa?format=raw HTTP/1.1\r\nHost: x\r\n\r\n"
HELLO = b"GET /ipfs/bafkqabtimvwgy3yk?format=raw HTTP/1.1\r\nHost: x\r\n\r\n"


class Talk:
    """One connection, with h11 as the client."""

    def __init__(self, shop: Shop, *, max_requests: int = 100, turned_away: bool = False) -> None:
        self.tally = PortTally()
        desk = AnswerDesk(Gateway(shop), self.tally, max_requests, lambda: 0.0)
        self.speaker = Http1Speaker(desk, HEAD_BYTES, turned_away=turned_away)
        self.pulled = b""

    def say(self, data: bytes) -> bytes:
        """What is sent back at once."""
        self.speaker.receive(data)
        return self.pull()

    def pull(self) -> bytes:
        self.pulled = b""
        while (piece := self.speaker.next_piece()) is not None:
            self.pulled += read_slice(piece) if isinstance(piece, FileSlice) else piece
        return self.pulled


def parsed(data: bytes, methods: tuple[str, ...]) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """The answers, as a client reads them that asked by these methods."""
    found = []
    for number, method in enumerate(methods):
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        head = client.next_event()
        assert isinstance(head, h11.Response)
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), (number, event)
        found.append((head.status_code, dict(head.headers), body))
        data = client.trailing_data[0]
    assert not data
    return found


def test_one_request_after_the_other(shop: Shop) -> None:
    talk = Talk(shop)
    for _ in range(3):
        ((status, headers, body),) = parsed(talk.say(HELLO), ("GET",))
        assert (status, body, headers[b"content-length"]) == (200, b"hello\n", b"6")
        assert headers[b"date"] == b"Thu, 01 Jan 1970 00:00:00 GMT"
        assert headers[b"access-control-allow-origin"] == b"*"
    assert not talk.speaker.is_closing
    assert talk.tally.requests == {200: 3}
    assert talk.tally.running == 0


def test_a_request_may_come_in_any_pieces(shop: Shop) -> None:
    talk = Talk(shop)
    for byte in HELLO[:-1]:
        assert not talk.say(bytes((byte,)))
        assert talk.speaker.in_request
    assert talk.say(HELLO[-1:]).endswith(b"hello\n")
    assert not talk.speaker.in_request


def test_requests_may_come_at_once(shop: Shop) -> None:
    talk = Talk(shop)
    head = HELLO.replace(b"GET", b"HEAD")
    answers = parsed(talk.say(HELLO + head + PROBE), ("GET", "HEAD", "GET"))
    assert [(status, body) for status, _, body in answers] == [(200, b"hello\n"), (200, b""), (200, b"")]


def test_more_at_once_than_may_wait_end_the_connection(shop: Shop) -> None:
    talk = Talk(shop)
    talk.speaker.receive(HELLO * (MAX_PIPELINED + 5))
    assert not talk.speaker.wants_input
    answers = parsed(talk.pull(), ("GET",) * MAX_PIPELINED)
    assert len(answers) == MAX_PIPELINED
    assert talk.speaker.is_closing


@pytest.mark.parametrize(
    ("version", "fields", "closes"),
    [
        (b"1.1", b"", False),
        (b"1.1", b"Connection: close\r\n", True),
        (b"1.0", b"", True),
        (b"1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_who_wants_the_connection_to_end(shop: Shop, version: bytes, fields: bytes, closes: bool) -> None:
    talk = Talk(shop)
    answer = talk.say(b"GET /ipfs/bafkqaaa HTTP/%b\r\n%b\r\n" % (version, fields))
    assert (b"\r\nConnection: close\r\n" in answer) is closes
    assert talk.speaker.is_closing is closes


def test_a_car_is_chunked(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    ask = f"GET /ipfs/{root}?format=car HTTP/1.1\r\n\r\n".encode()
    talk = Talk(shop)
    ((status, headers, body),) = parsed(talk.say(ask), ("GET",))
    assert (status, headers[b"transfer-encoding"]) == (200, b"chunked")
    assert TEXT[:1000] in body
    old = Talk(shop)
    answer = old.say(ask.replace(b"1.1", b"1.0"))
    assert answer.partition(b"\r\n\r\n")[2] == body  # its end is that of the connection
    assert old.speaker.is_closing
    (head,) = parsed(talk.say(ask.replace(b"GET", b"HEAD")), ("HEAD",))
    assert (head[0], head[2]) == (200, b"")
    assert not talk.speaker.is_closing


def test_a_car_that_is_cut_never_looks_whole(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    shop.forget(shop.leaves[2].multihash)
    talk = Talk(shop)
    talk.speaker.receive(f"GET /ipfs/{root}?format=car HTTP/1.1\r\n\r\n".encode())
    with pytest.raises(AnswerCut):
        talk.pull()
    assert talk.pulled
    assert not talk.pulled.endswith(b"0\r\n\r\n")
    talk.speaker.drop()
    assert (talk.tally.aborted, talk.tally.running) == (1, 0)


def test_no_length_where_there_is_no_body(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop)
    known = f'GET /ipfs/{root} HTTP/1.1\r\nIf-None-Match: "{root}"\r\n\r\n'.encode()
    answer = talk.say(known)
    assert answer.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"\r\nContent-Length" not in answer
    answer = talk.say(b"OPTIONS /ipfs/bafkqaaa HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"\r\nContent-Length" not in answer
    assert b"Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n" in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS on a port without
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /ipfs/bafkqaaa HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"POST /ipfs/bafkqaaa HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"GET /" + b"a" * (MAX_TARGET_BYTES + 1), 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 2), 431),
        (b"GET / HTTP/1.1\r\na: " + b"b" * HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n" + b"b" * HEAD_BYTES, 431),
        (b"GET /ipfs/\xff HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_once(shop: Shop, data: bytes, status: int) -> None:
    talk = Talk(shop)
    answer = talk.say(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert talk.speaker.is_closing
    assert talk.say(HELLO) == b""


def test_what_came_before_is_answered_first(shop: Shop) -> None:
    talk = Talk(shop)
    data = talk.say(HELLO + b"nonsense\r\n\r\n")
    assert [status for status, _, _ in parsed(data, ("GET", "GET"))] == [200, 400]


def test_a_wish_for_another_protocol_is_ignored(shop: Shop) -> None:
    talk = Talk(shop)
    wish = (
        HELLO[:-2]
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    answers = parsed(talk.say(wish + HELLO), ("GET", "GET"))
    assert [body for _, _, body in answers] == [b"hello\n", b"hello\n"]


def test_too_many_answers_at_once_are_told_to_wait(shop: Shop) -> None:
    talk = Talk(shop, max_requests=0)
    ((status, headers, _),) = parsed(talk.say(HELLO), ("GET",))
    assert (status, headers[b"retry-after"]) == (429, b"5")
    assert not talk.speaker.is_closing


def test_one_connection_too_many_is_told_so(shop: Shop) -> None:
    talk = Talk(shop, turned_away=True)
    ((status, headers, _),) = parsed(talk.say(HELLO), ("GET",))
    assert (status, headers[b"retry-after"], headers[b"connection"]) == (429, b"5", b"close")
    assert talk.speaker.is_closing


def test_whoever_sends_nothing_more_gets_the_answers(shop: Shop) -> None:
    talk = Talk(shop)
    talk.speaker.receive(HELLO + HELLO)
    talk.speaker.receive_end()
    data = talk.pull()
    assert len(parsed(data, ("GET", "GET"))) == 2
    assert data.count(b"Connection: close") == 1
    assert talk.speaker.is_closing
    silent = Talk(shop)
    silent.speaker.receive_end()
    assert silent.speaker.is_closing


@settings(max_examples=300)
@given(
    st.lists(
        st.binary(max_size=200) | st.sampled_from([HELLO, PROBE, b"GET /ipfs/", b"\r\n\r\n"]), max_size=8
    )
)
def test_no_bytes_raise(parts: list[bytes]) -> None:
    shop = Shop()
    talk = Talk(shop)
    for part in parts:
        talk.say(part)
    talk.speaker.receive_end()
    talk.pull()
    assert talk.speaker.is_closing
    assert talk.tally.running == 0


def test_nothing_of_a_connection_waits_for_the_garbage_collector(shop: Shop) -> None:
    """A node has it run rarely, and strangers open as many as they like."""
    talk = Talk(shop)
    talk.say(HELLO)
    talk.speaker.receive(b"GET / HTTP/1.1\r\nA: " + b"a" * 8000)
    gc.disable()
    try:
        talk.speaker.drop()
        speaker = weakref.ref(talk.speaker)
        del talk
        assert speaker() is None
    finally:
        gc.enable()
