"""Messages encrypted ahead of the shell: in order, bounded, in a buffer used again only when it is free."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import ConnectionConfig
from fastmarket.errors import NetworkFault
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.libp2p.events import Closed, StreamData
from fastmarket.libp2p.muxed import ConnectionState, Sealed
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp import bulk_cipher, output
from fastmarket.libp2p.tcp.noise import BULK_BYTES, MAX_MESSAGE_BYTES, MAX_NONCE, CipherState
from fastmarket.libp2p.tcp.output import AHEAD_BYTES, OUTPUT_BYTES, Output, compact, recycle
from tests.unit.libp2p.pair import START, Pair, endpoint_of

KEY = bytes(range(32))
BIG = "/test/big/1"
REPLY = bytes(Random(1).randbytes(10_000))


@pytest.fixture(autouse=True)
def no_spare() -> Iterator[None]:
    output._spare.clear()
    yield
    output._spare.clear()


def made() -> Output:
    out = Output()
    out.cipher = CipherState(KEY)
    return out


class Peer:
    """Decrypts what it gets, message by message."""

    def __init__(self) -> None:
        self.cipher = CipherState(KEY)
        self.got = b""

    def receive(self, data: Sealed) -> None:
        data = bytes(data)
        while data:
            size = int.from_bytes(data[:2], "big")
            assert size <= MAX_MESSAGE_BYTES
            self.got += self.cipher.decrypt(data[2 : 2 + size])
            data = data[2 + size :]


SIZES = st.one_of(
    st.integers(0, 50),
    st.sampled_from([BULK_BYTES - 1, BULK_BYTES, 48 << 10, 65_518, 65_519, 65_520, 131_038, 131_039]),
    st.integers(0, 600_000),
)
STEPS = st.lists(st.tuples(st.sampled_from(["ahead", "take", "take"]), SIZES, st.booleans()), max_size=12)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_every_byte_comes_in_order_however_it_went(steps: list[tuple[str, int, bool]], old: bool) -> None:
    """`old`: with a library that encrypts into no buffer of ours."""
    out, peer, sent, waiting = made(), Peer(), b"", bytearray()
    if old:
        assert out.cipher is not None
        out.cipher._of_bulk()._into = None
    kept: list[tuple[Sealed, bytes]] = []
    for number, (step, size, lent) in enumerate(steps):
        piece = Random(number).randbytes(size)
        sent += piece
        waiting += piece
        before = bytes(waiting), out.size
        if step == "ahead":
            if out.run_ahead(waiting):
                assert not waiting
                assert before[1] < AHEAD_BYTES
            else:
                assert (bytes(waiting), out.size) == before
            assert out.size <= OUTPUT_BYTES
            continue
        taken = out.take(waiting)
        assert not waiting
        assert out.size == 0
        peer.receive(taken)
        assert peer.got == sent
        if lent:  # somebody keeps it: nothing that comes later is written there
            kept.append((taken, bytes(taken)))
        elif isinstance(taken, memoryview):
            recycle(taken)
        for one, right in kept:
            assert one == right
    assert len(output._spare) <= 1


def test_a_message_by_itself_is_sealed_as_ever() -> None:
    for size in (0, 1, BULK_BYTES - 1, BULK_BYTES, 65_519, 65_520, 200_000, 600_000):
        plaintext = bytearray(Random(size).randbytes(size))
        right = CipherState(KEY).seal(plaintext) if size else b""
        assert bytes(made().take(plaintext)) == right


def test_the_buffer_is_used_again_once_it_is_given_back() -> None:
    out = made()
    first = out.take(bytearray(BULK_BYTES))
    assert isinstance(first, memoryview)
    second = out.take(bytearray(BULK_BYTES))
    assert isinstance(second, memoryview)
    assert second.obj is not first.obj
    recycle(first)
    recycle(second)  # one is kept, no more
    assert [spare is first.obj for spare in output._spare] == [True]
    third = made().take(bytearray(BULK_BYTES))  # of another connection
    assert isinstance(third, memoryview)
    assert third.obj is first.obj
    data = bytes(third)
    assert compact(third) == data
    assert output._spare == [third.obj]
    assert compact(b"short") == b"short"


def test_nothing_is_encrypted_ahead_for_a_shell_that_waits() -> None:
    out, waiting = made(), bytearray(b"waits")
    out.paused = True
    assert not out.run_ahead(waiting)
    assert not Output().run_ahead(waiting)  # nor before the handshake is over
    assert Output().take(waiting) == b""
    assert waiting == b"waits"


def test_nonces_that_end_leave_the_plaintext() -> None:
    out, waiting = made(), bytearray(BULK_BYTES)
    assert out.cipher is not None
    out.cipher.nonce = MAX_NONCE + 1
    for call in (out.run_ahead, out.take):
        with pytest.raises(NetworkFault):
            call(waiting)
    assert (len(waiting), out.size) == (BULK_BYTES, 0)


# -- in a connection


def asked(count: int, **bounds: int) -> Pair:
    """A listener that has as many requests for a reply of 10 kB before it, and has sent nothing yet."""

    def handle(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
        return REPLY

    listener = endpoint_of(2, {BIG: RpcResponder.factory(handle, 100)}, ConnectionConfig(**bounds))
    pair = Pair(listener=listener).open()
    streams = [pair.dialer.open_stream([BIG], START, lazy=True) for _ in range(count)]
    for stream in streams:
        pair.dialer.send(stream, frame(b"q"), START)
    pair.run()
    for stream in streams:
        pair.dialer.send(stream, frame(b"q"), START)
    pair.dialer_events.clear()
    pair.listener.receive_data(pair.dialer.data_to_send(), START)
    return pair


def replies(pair: Pair) -> int:
    """Whole and right ones that the dialer was given."""
    decoders: dict[int, FrameDecoder] = {}
    found = 0
    for event in pair.dialer_events:
        if isinstance(event, StreamData):
            for body in decoders.setdefault(event.stream_id, FrameDecoder(1 << 20)).feed(event.data):
                assert body == REPLY
                found += 1
    return found


def test_replies_to_one_input_go_in_one_write() -> None:
    pair = asked(30)
    assert pair.listener.unsent_bytes > 30 * len(REPLY)
    taken = pair.listener.take_output()
    assert len(taken) > 30 * len(REPLY)
    assert pair.listener.unsent_bytes == 0
    pair.dialer.receive_data(compact(taken), START)
    pair.run()
    assert replies(pair) == 30


def test_more_than_is_encrypted_ahead_waits_for_the_shell() -> None:
    pair = asked(100)
    listener = pair.listener
    assert not listener.wants_read
    assert listener.unsent_bytes <= OUTPUT_BYTES
    taken = listener.take_output()
    assert AHEAD_BYTES <= len(taken) <= OUTPUT_BYTES
    pair.dialer.receive_data(compact(taken), START)
    pair.run()
    assert listener.wants_read
    assert replies(pair) == 100


def test_a_shell_that_waits_has_no_more_than_a_piece_made_for_it() -> None:
    pair = asked(0)
    listener, config = pair.listener, ConnectionConfig()
    listener.output.paused = True
    streams = [pair.dialer.open_stream([BIG], START, lazy=True) for _ in range(60)]
    for stream in streams:
        pair.dialer.send(stream, frame(b"q"), START)
    listener.receive_data(pair.dialer.data_to_send(), START)
    assert listener.output.size == 0
    assert config.max_unsent_bytes < listener.unsent_bytes < config.max_unsent_bytes + 2 * len(REPLY)
    assert not listener.wants_read
    listener.output.paused = False
    pair.run()
    assert replies(pair) == 60


def test_the_go_away_comes_behind_what_was_encrypted_ahead() -> None:
    pair = asked(30)
    pair.listener.close(START)
    pair.run()
    assert replies(pair) == 30
    assert pair.dialer.state is ConnectionState.CLOSED or pair.dialer.is_leaving


@pytest.mark.parametrize("left", [0, 2])
def test_a_connection_whose_nonces_end_in_the_midst_of_input_closes(left: int) -> None:
    pair = asked(0)
    cipher = pair.listener.output.cipher
    assert cipher is not None
    cipher.nonce = MAX_NONCE + 1 - left
    for stream in [pair.dialer.open_stream([BIG], START, lazy=True) for _ in range(60)]:
        pair.dialer.send(stream, frame(b"q"), START)
    pair.listener.receive_data(pair.dialer.data_to_send(), START)
    assert pair.listener.state is ConnectionState.CLOSED
    closed = [event for event in iter(pair.listener.next_event, None) if isinstance(event, Closed)]
    assert len(closed) == 1
    assert isinstance(closed[0].fault, NetworkFault)
    pair.listener.data_to_send()


def test_the_library_encrypts_into_our_buffer() -> None:
    """Or a faster way would have gone unnoticed."""
    assert bulk_cipher.BulkAead(KEY)._into is not None
