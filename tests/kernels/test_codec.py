"""The compiled wire path and its plain twin agree, on frames cut and mixed at random, and on addresses."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import ConnectionConfig
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.addr_protocols import PROTOCOLS, VARIABLE
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.varint import encode_uvarint, frame
from fastmarket.libp2p import yamux
from fastmarket.libp2p.connection import Connection
from fastmarket.libp2p.events import ResponderFailed, StreamData
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.upgrade import Endpoint, Role
from fastmarket.native import codec as _codec
from fastmarket.pb.libp2p import kad_pb2
from tests.reference import codec as twin

RPC = "/test/rpc/1"
NOW = 1_000_000.0
LIMIT = 700


def answer(connection: Connection, request: bytes, now: float) -> bytes | None:
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
            endpoint = Endpoint.create(identity, Random(seed).randbytes, protocols, config)
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
            if not back and not self.dialer.unsent and not self.listener.unsent:
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


def fields(read, body, *bounds):
    """None: refused."""
    try:
        return read(body, *bounds)
    except ValueError:
        return None


UVARINTS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 4, 127, 128])
SOME = st.binary(max_size=140)
MESSAGES = st.builds(
    lambda kind, key, record, closer, providers: kad_pb2.Message(
        type=kind,
        key=key,
        closerPeers=[kad_pb2.Message.Peer(id=raw) for raw in closer],
        providerPeers=[kad_pb2.Message.Peer(id=raw) for raw in providers],
        **({"record": {"value": record}} if record else {}),
    ).SerializeToString(),
    st.integers(0, 5),
    SOME,
    SOME,
    st.lists(SOME, max_size=6),
    st.lists(SOME, max_size=6),
)
FIELDS = st.builds(
    lambda number, wire, value, data: (
        encode_big(number << 3 | wire)
        + (encode_big(value) if wire == 0 else encode_big(len(data)) + data if wire == 2 else data)
    ),
    st.sampled_from([1, 2, 3, 8, 9, 10, 100, 2**40]),
    st.sampled_from([0, 2, 2, 2, 1, 5, 3, 4, 6, 7]),
    UVARINTS,
    st.binary(max_size=9),
)


def encode_big(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@given(MESSAGES | st.lists(FIELDS, max_size=5).map(b"".join) | st.binary(max_size=30), st.data())
@settings(max_examples=600)
def test_a_message_is_read_as_the_twin_reads_it(body, data):
    bounds = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
    assert fields(_codec.message_fields, body, *bounds) == fields(twin.message_fields, body, *bounds)
    damaged = bytearray(body[: data.draw(st.integers(0, len(body)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged)
    assert fields(_codec.message_fields, cut, *bounds) == fields(twin.message_fields, cut, *bounds)


@pytest.mark.parametrize(
    "raw", [b"\x80" * 9 + b"\x02", b"\x80" * 10, b"\x80" * 10 + b"\x00", b"\xff" * 9 + b"\x01"]
)
def test_long_varints(raw):
    for body in (raw, b"\x08" + raw, b"\x12" + raw, raw + b"\x00"):
        assert fields(_codec.message_fields, body, 1, 1) == fields(twin.message_fields, body, 1, 1)
    assert _codec.message_fields(b"\x08" + b"\xff" * 9 + b"\x01", 0, 0)[0] == 2**64 - 1


PEERS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda key: b"\x00\x24\x08\x01\x12\x20" + key),
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
).map(lambda raw: str(PeerId.from_bytes(raw)))
PLAIN = st.builds("/ip4/{}/tcp/{}".format, st.ip_addresses(v=4), st.integers(0, 65535))
WITH_PEER = st.builds("{}/p2p/{}".format, PLAIN, PEERS)


@given(PLAIN | WITH_PEER)
def test_plain_addresses_are_read_and_written(text):
    raw = _codec.addr_from_text(text)
    assert raw is not None
    assert raw == twin.addr_from_text(text)
    assert _codec.addr_to_text(raw) == twin.addr_to_text(raw) == text


@given(PLAIN | WITH_PEER, st.data())
@settings(max_examples=400)
def test_damaged_text_is_read_as_the_twin_reads_it(text, data):
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    damaged = text[:at] + data.draw(st.text("0159./:aàz/", max_size=3)) + text[at + cut :]
    assert _codec.addr_from_text(damaged) == twin.addr_from_text(damaged)


@given(PLAIN | WITH_PEER, st.data())
def test_what_is_no_plain_address_has_no_text(text, data):
    raw = _codec.addr_from_text(text)
    assert raw is not None
    damaged = bytearray(raw + data.draw(st.binary(max_size=2)))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(0, 255))
    shown = _codec.addr_to_text(bytes(damaged))
    assert shown == twin.addr_to_text(bytes(damaged))
    if shown is not None:
        assert Multiaddr(bytes(damaged)).parts
        assert _codec.addr_from_text(shown) == bytes(damaged)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
@given(st.binary(max_size=40))
@settings(max_examples=20)
def test_other_protocols_are_left_to_the_general_writer(protocol, value):
    """Whatever stands in them; and the twin comes to an end, too."""
    value = value if protocol.size == VARIABLE else value[: protocol.size].ljust(protocol.size, b"a")
    head = encode_uvarint(protocol.code)
    one = head + (encode_uvarint(len(value)) if protocol.size == VARIABLE else b"") + value
    plain = bytes.fromhex("047f000001061001")
    for raw in (one, one + plain, plain + one, one + one, one[:-1], head, plain + head):
        assert _codec.addr_to_text(raw) == twin.addr_to_text(raw)


@pytest.mark.parametrize(
    "text",
    ["", "/", "/ip4", "/ip4/", "/ip4/1.2.3.4", "/ip4/1.2.3.4/tcp", "/ip4/1.2.3.4/tcp/", "/ip4/1.2.3.4/udp/1",
     "/ip4/1.2.3/tcp/4", "/ip4/1.2.3.256/tcp/4", "/ip4/01.2.3.4/tcp/4", "/ip4/1.2.3.4/tcp/65536",
     "/ip4/1.2.3.4/tcp/04", "/ip4/1.2.3.4/tcp/4/", "/ip4/1.2.3.4/tcp/4/p2p/", "/ip4/1.2.3.4/tcp/4/p2p/Qm",
     "/ip4/1.2.3.4/tcp/4/p2p/" + "z" * 300, "/ip6/::1/tcp/4", "/ip4/\u0661.2.3.4/tcp/4"],
)  # fmt: skip
def test_odd_text_is_left_to_the_general_reader(text):
    assert _codec.addr_from_text(text) is None


def test_a_frame_is_written_as_far_as_the_window_goes():
    stream = _codec.StreamState()
    stream.stream_id, stream.send_window, stream.outbox = 0xFFFFFFFF, 5, bytearray()
    out = bytearray(b"before")
    assert not _codec.write_frame(out, stream, b"too long")
    assert out == b"before"
    assert _codec.write_frame(out, stream, bytearray(b"fits!"))
    assert out == b"before" + bytes.fromhex("00000000 ffffffff 00000005") + b"fits!"
    assert stream.send_window == 0
    stream.outbox += b"waits"
    assert not _codec.write_frame(out, stream, b"")
