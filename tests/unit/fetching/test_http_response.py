"""What is read from a connection, however it is cut; whatever it is, nothing but PeerFault comes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.net.fetching.http_response import (
    MAX_HEAD_BYTES,
    MAX_INTERIM_COUNT,
    HttpResponse,
    HttpResponses,
    TooLong,
)

MOST = 1000
BODY = bytes(range(256)) * 3
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"100;name=value\r\n" + BODY[:256] + b"\r\n200\r\n" + BODY[256:] + b"\r\n0\r\nTrailer: 1\r\n\r\n"
)  # fmt: skip
CUTS = st.lists(st.integers(0, len(CHUNKED)), max_size=6)


def feed(responses: HttpResponses, raw: bytes) -> list[HttpResponse]:
    """Puts bytes into the buffers that are offered."""
    found = []
    while raw:
        buffer = responses.buffer()
        size = min(len(buffer), len(raw))
        buffer[:size] = raw[:size]
        raw = raw[size:]
        if (response := responses.handle_received(size)) is not None:
            found.append(response)
    return found


def answers(raw: bytes, cuts: list[int] | None = None, *, is_head: bool = False) -> list[HttpResponse]:
    """Of a new connection, in pieces."""
    responses = HttpResponses()
    responses.expect(MOST, is_head=is_head)
    places = [0, *sorted(cut for cut in cuts or () if cut < len(raw)), len(raw)]
    return [one for i in range(len(places) - 1) for one in feed(responses, raw[places[i] : places[i + 1]])]


def one(raw: bytes, cuts: list[int] | None = None, *, is_head: bool = False) -> HttpResponse:
    (response,) = answers(raw, cuts, is_head=is_head)
    return response


@given(CUTS)
def test_a_body_of_known_length_is_whole_however_it_comes(cuts: list[int]) -> None:
    response = one(PLAIN, cuts)
    assert (response.status, response.body, response.is_kept) == (200, BODY, True)


@given(CUTS)
def test_a_chunked_body_is_whole_however_it_comes(cuts: list[int]) -> None:
    response = one(CHUNKED, cuts)
    assert (response.status, response.body, response.is_kept) == (200, BODY, True)


@given(CUTS)
def test_interim_responses_are_passed_over(cuts: list[int]) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert one(hints * MAX_INTERIM_COUNT + PLAIN, cuts).body == BODY
    with pytest.raises(LimitExceeded):
        answers(hints * (MAX_INTERIM_COUNT + 1), cuts)


def test_a_connection_brings_one_response_after_the_other() -> None:
    responses = HttpResponses()
    for raw in (PLAIN, CHUNKED, b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n", PLAIN):
        responses.expect(MOST)
        (response,) = feed(responses, raw)
        assert response.is_kept
        assert response.body == (BODY if response.status == 200 else b"")


def test_an_empty_block_is_a_block() -> None:
    assert one(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").body == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_be_kept_is_known(raw: bytes) -> None:
    assert not one(raw).is_kept


@pytest.mark.parametrize("status", [b"200 OK\r\nContent-Length: 7", b"204 No Content", b"404 Not Found"])
def test_head_brings_no_body(status: bytes) -> None:
    raw = b"HTTP/1.1 " + status + b"\r\n\r\n"
    assert one(raw, is_head=True).body == b""
    with pytest.raises(PeerFault):
        answers(raw + b"x", is_head=True)


def test_retry_after_is_told() -> None:
    raw = b"HTTP/1.1 429 Slow Down\r\nRetry-After:  7 \r\nContent-Length: 0\r\n\r\n"
    assert one(raw).retry_after == "7"
    assert len(one(raw.replace(b"7", b"7" * 5000)).retry_after) < 100


BROKEN = [
    b"HTTP/1.1 200 OK\r\n\r\n",  # a body of unknown length
    b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    CHUNKED + PLAIN,
]


@pytest.mark.parametrize("raw", BROKEN)
def test_what_is_not_a_response_is_a_fault_of_the_peer(raw: bytes) -> None:
    for cuts in ([], list(range(len(raw)))):
        with pytest.raises(PeerFault):
            answers(raw, cuts)


def test_a_block_that_is_too_long_is_not_read() -> None:
    with pytest.raises(TooLong):
        answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
    chunk = b"100\r\n" + bytes(256) + b"\r\n"
    with pytest.raises(TooLong):
        answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4)
    with pytest.raises(PeerFault):  # one byte a chunk, and long extensions
        answers(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"1;" + b"x" * 500 + b"\r\n.\r\n") * 999
        )


def test_endless_headers_are_not_read() -> None:
    with pytest.raises(LimitExceeded):
        answers(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES)


@given(st.binary(max_size=600), CUTS)
def test_arbitrary_bytes_raise_nothing_else(raw: bytes, cuts: list[int]) -> None:
    for begin in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:60]):
        try:
            answers(begin + raw, cuts)
        except PeerFault:
            continue


@given(st.sampled_from([PLAIN, CHUNKED]), st.integers(0, 80), st.binary(max_size=4), CUTS)
def test_nearly_right_bytes_raise_nothing_else(good: bytes, at: int, wrong: bytes, cuts: list[int]) -> None:
    try:
        for response in answers(good[:at] + wrong + good[at + len(wrong) :], cuts):
            assert len(response.body) <= MOST
    except PeerFault:
        pass
