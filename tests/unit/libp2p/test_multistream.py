from __future__ import annotations

import pytest

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.libp2p.multistream import (
    HEADER,
    NOT_AVAILABLE,
    DialerNegotiation,
    ListenerNegotiation,
    encode_token,
)

A, B = "/a/1", "/b/1"


def listener() -> ListenerNegotiation:
    return ListenerNegotiation({A, B}, max_proposals=4)


def feed_bytewise(side: ListenerNegotiation, data: bytes) -> None:
    for byte in data:
        side.receive(bytes([byte]))


def test_tokens_on_the_wire() -> None:
    assert HEADER == b"\x13/multistream/1.0.0\n"
    assert bytes.fromhex("036e610a") == NOT_AVAILABLE
    long = encode_token("x" * 300)
    assert long[:2] == bytes([301 & 0x7F | 0x80, 2])
    for bad in ("a\nb", "x" * 1024):
        with pytest.raises(CallerFault):
            encode_token(bad)


def test_everything_in_one_piece() -> None:
    side = listener()
    assert side.receive(HEADER + encode_token(A) + b"first") == HEADER + encode_token(A)
    assert side.chosen == A
    assert side.rest == b"first"


def test_byte_by_byte_and_the_header_at_once() -> None:
    side = listener()
    sent = b""
    for n, byte in enumerate(HEADER + encode_token("/no/1") + encode_token(B)):
        sent += side.receive(bytes([byte]))
        assert sent == b"" if n < len(HEADER) - 1 else sent.startswith(HEADER)
    assert sent == HEADER + NOT_AVAILABLE + encode_token(B)
    assert side.chosen == B
    assert side.rest == b""


def test_ls_is_not_served() -> None:
    side = listener()
    assert side.receive(HEADER + encode_token("ls")) == HEADER + NOT_AVAILABLE
    assert side.chosen is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        encode_token(A),
        b"\x00",
        HEADER + b"\xff\x7f",
        HEADER + b"\x03abc",
        HEADER + encode_token("/no/1") * 5,
    ],
)
def test_what_is_no_negotiation_is_a_fault(data: bytes) -> None:
    side = listener()
    with pytest.raises(PeerFault):
        feed_bytewise(side, data)


def test_a_long_token_is_refused_by_its_length() -> None:
    with pytest.raises(LimitExceeded):
        listener().receive(HEADER + b"\x81\x08")


def test_a_refused_lazy_dialer_gets_its_refusal() -> None:
    side = listener()
    assert side.receive(HEADER + encode_token("/no/1") + b"\x01request") == HEADER + NOT_AVAILABLE
    assert side.declined
    assert side.receive(b"more") == b""


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("behind", [b"\x01request", bytes(40), b"\xff" * 9])
def test_so_it_does_if_its_data_come_later(size: int, behind: bytes) -> None:
    """Whatever the transport makes of them: a reset could overtake the refusal."""
    side, sent = listener(), HEADER + encode_token("/no/1") + behind
    replies = [side.receive(sent[at : at + size]) for at in range(0, len(sent), size)]
    assert b"".join(replies) == HEADER + NOT_AVAILABLE
    assert side.declined


def test_the_dialer_goes_through_its_proposals() -> None:
    dialer, side = DialerNegotiation(["/no/1", "/no/2", B]), listener()
    sent = dialer.opening()
    while dialer.chosen is None:
        assert sent
        sent = dialer.receive(side.receive(sent))
    assert dialer.chosen == side.chosen == B
    assert not dialer.refused


@pytest.mark.parametrize("lazy", [True, False])
def test_the_dialer_is_refused(lazy: bool) -> None:
    dialer = DialerNegotiation(["/no/1", A] if lazy else ["/no/1"], lazy=lazy)
    assert dialer.receive(listener().receive(dialer.opening())) == b""
    assert dialer.refused


@pytest.mark.parametrize("answer", [encode_token(A), HEADER + encode_token(B), HEADER + HEADER])
def test_the_dialer_takes_no_other_answer(answer: bytes) -> None:
    with pytest.raises(PeerFault):
        DialerNegotiation([A]).receive(answer)


def test_the_dialer_keeps_what_follows() -> None:
    dialer = DialerNegotiation([A])
    dialer.receive(HEADER + encode_token(A) + b"reply")
    assert dialer.rest == b"reply"
