"""Whatever bytes come, in whatever pieces: no exception leaves a connection; pieces make no difference."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import ConnectionConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.varint import frame
from fastmarket.libp2p.events import Closed, Event, ResponderFailed, StreamData, StreamReady
from fastmarket.libp2p.identify import IdentifyCollector, IdentifyPushResponder, IdentifyResponder
from fastmarket.libp2p.multistream import DialerNegotiation, ListenerNegotiation, encode_token
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.ping import PING_PROTOCOL, PingResponder
from fastmarket.libp2p.requests import Failed, Reply, RequestPool
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import CipherState
from tests.unit.libp2p.pair import ECHO, RAW, START, Pair, default_protocols, echo, endpoint_of

ENDS = endpoint_of(1), endpoint_of(2)
SMALL = ConnectionConfig(max_inbound_streams=8, max_unsent_bytes=4096)
GREEDY_ENDS = endpoint_of(1), endpoint_of(2, config=SMALL)


def pieces(seed: int, largest: int) -> object:
    random = Random(seed)

    def split(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = random.randint(1, largest)
            yield data[at : at + size]
            at += size

    return split


def drain(connection: Connection) -> list[Event]:
    events = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    return events


def merged(events: list[Event]) -> list[object]:
    """Consecutive data of one stream as one."""
    out: list[object] = []
    for event in events:
        last = out[-1] if out else None
        if (
            isinstance(event, StreamData)
            and isinstance(last, StreamData)
            and last.stream_id == event.stream_id
        ):
            out[-1] = StreamData(event.stream_id, last.data + event.data)
        else:
            out.append(event)
    return out


def conversation(pair: Pair, sizes: list[int]) -> tuple[list[object], list[object]]:
    pair.open()
    for n, size in enumerate(sizes):
        stream = pair.dialer.open_stream([ECHO], pair.now, lazy=bool(n % 2))
        if not n % 2:
            pair.run()
        body = frame(bytes([n % 256]) * size)
        pair.dialer.send(stream, body + body, pair.now)
        pair.run()
        back = pair.listener.open_stream(["/none", RAW], pair.now)
        pair.run()
        pair.listener.send(back, body, pair.now)
        pair.listener.close_write(back, pair.now)
        pair.dialer.close_write(stream, pair.now)
        pair.run()
    pair.dialer.close(pair.now)
    pair.run()
    return merged(pair.dialer_events), merged(pair.listener_events)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60_000), max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([1, 3, 50, 5000, 10**6]),
)
def test_any_split_gives_the_same_events(sizes: list[int], seed: int, largest: int) -> None:
    if largest < 50:
        sizes = [size % 300 for size in sizes]
    whole = Pair(dialer=endpoint_of(1), listener=endpoint_of(2))
    parts = Pair(dialer=endpoint_of(1), listener=endpoint_of(2), split=pieces(seed, largest))  # type: ignore[arg-type]
    assert conversation(parts, sizes) == conversation(whole, sizes)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(Role)), st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_from_the_start(role: Role, chunks: list[bytes]) -> None:
    connection = Connection(ENDS[0], role, now=START)
    for chunk in chunks:
        connection.receive_data(chunk, START)
        connection.data_to_send()
    connection.receive_eof(START)
    assert isinstance(drain(connection)[-1], Closed)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_changed_byte_anywhere_in_the_upgrade(data: st.DataObject) -> None:
    """The handshake fails on it, or (outside what is authenticated) does not care."""
    pair = Pair(dialer=ENDS[0], listener=ENDS[1])
    victim = data.draw(st.integers(0, 3))
    turn = 0
    for _ in range(4):
        for source, target in ((pair.dialer, pair.listener), (pair.listener, pair.dialer)):
            out = bytearray(source.data_to_send())
            if turn == victim and out:
                out[data.draw(st.integers(0, len(out) - 1))] ^= data.draw(st.integers(1, 255))
            target.receive_data(bytes(out), START)
            turn += 1
    for connection in (pair.dialer, pair.listener):
        connection.handle_timer(START + 11)
        for event in drain(connection):
            assert not isinstance(event, ResponderFailed)
        if connection.state is not ConnectionState.CLOSED:
            assert connection.remote_peer in {end.host.identity.peer_id for end in ENDS}


FRAME = st.builds(
    lambda version, kind, flags, stream, length, body: (
        struct.pack(">BBHII", version, kind, flags, stream, length) + body
    ),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1]),
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4]),
    st.sampled_from([0, 0, 1, 1, 2, 4, 8, 5, 9, 65535]),
    st.sampled_from([0, 1, 1, 2, 3, 5, 7, 2**32 - 1]),
    st.sampled_from([0, 1, 64, 300_000, 2**32 - 1]) | st.integers(0, 100),
    st.just(b""),
)
TOKENS = b"".join(map(encode_token, ["/multistream/1.0.0", ECHO]))
BODY = st.binary(max_size=80) | st.builds(
    lambda body, n: frame(body) * n, st.binary(max_size=900), st.integers(1, 9)
)
BODY |= st.just(frame(bytes(900)) * 60)  # more than is answered in one go
# What a peer that keeps the rules does, mostly, with the stream it opened last.
STEP = st.tuples(st.just("open"), BODY) | st.tuples(st.just("data"), BODY)
STEP |= st.tuples(st.sampled_from(["window", "fin", "reset", "ping"]), st.just(b""))
KIND = {"open": (0, 0), "data": (0, 0), "window": (1, 0), "fin": (0, 4), "reset": (0, 8), "ping": (2, 1)}


def spoken(steps: list[tuple[str, bytes] | bytes]) -> Iterator[bytes]:
    stream = 1
    for n, step in enumerate(steps):
        if isinstance(step, bytes):
            yield step
            continue
        name, body = step
        if name == "open":
            stream = 101 + 2 * n
            yield struct.pack(">HHII", 0, 1, stream, 0)
            body = TOKENS + body
        kind, flags = KIND[name]
        length = 5000 if name == "window" else len(body)
        yield struct.pack(">HHII", kind, flags, 0 if name == "ping" else stream, length) + body


def check_bounds(victim: Connection) -> None:
    session = victim._session
    assert session is not None
    assert victim.streams <= SMALL.max_inbound_streams + 1
    assert len(session.mux.out) < SMALL.max_unsent_bytes + 50_000
    assert session.held <= SMALL.max_held_bytes


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=15),
    st.lists(STEP | FRAME | st.binary(max_size=40), max_size=10),
    st.booleans(),
    st.booleans(),
)
def test_any_plaintext_inside_the_secure_channel(
    fair: list[tuple[str, bytes] | bytes],
    foul: list[tuple[str, bytes] | bytes],
    together: bool,
    taken: bool,
) -> None:
    """A peer that did its handshake and then says anything; every bound of ours holds at each step."""
    pair = Pair(dialer=GREEDY_ENDS[0], listener=GREEDY_ENDS[1]).open()
    victim, now = pair.listener, pair.now
    own = victim.open_stream([ECHO], now)
    events: list[Event] = []
    cipher = pair.dialer.output.cipher
    assert isinstance(cipher, CipherState)
    chunks = list(spoken([("open", frame(b"hello")), *fair, *foul]))
    for chunk in [b"".join(chunks)] if together else chunks:
        now += 0.5
        victim.receive_data(cipher.seal(bytearray(chunk)), now)
        check_bounds(victim)
        if taken:
            victim.data_to_send()
            victim.handle_timer(now)
        events += drain(victim)
    victim.consumed(own, 1, now)
    victim.handle_timer(now + 1000)
    victim.data_to_send()
    victim.receive_eof(now)
    events += drain(victim)
    assert victim.state is ConnectionState.CLOSED
    assert [n for n, event in enumerate(events) if isinstance(event, Closed)] == [len(events) - 1]
    assert not any(isinstance(event, ResponderFailed) for event in events)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([ECHO, RAW, PING_PROTOCOL, "/id", "/push"]), st.booleans())
def test_any_bytes_to_a_responder(body: bytes, protocol: str, end: bool) -> None:
    served = {
        **default_protocols(),
        PING_PROTOCOL: PingResponder,
        "/id": IdentifyResponder.factory(lambda peer: b"\x00"),
        "/push": IdentifyPushResponder.factory(lambda peer, info, now: None),
    }
    pair = Pair(dialer=ENDS[0], listener=endpoint_of(2, served)).open()
    stream = pair.dialer.open_stream([protocol], pair.now, lazy=True)
    pair.dialer.send(stream, body, pair.now)
    if end:
        pair.dialer.close_write(stream, pair.now)
    pair.run()
    pair.advance(3)
    assert pair.listener.state is ConnectionState.OPEN
    assert not any(isinstance(event, ResponderFailed) for event in pair.listener_events)


@given(st.binary(max_size=300), st.integers(1, 20))
def test_negotiations_and_identify_only_raise_peer_faults(data: bytes, step: int) -> None:
    for receive in (
        ListenerNegotiation([ECHO], max_proposals=5).receive,
        DialerNegotiation([ECHO, RAW]).receive,
        IdentifyCollector().feed,
    ):
        for prefix in (b"", TOKENS[:20]):
            try:
                receive(prefix)
                for at in range(0, len(data), step):
                    receive(data[at : at + step])
            except PeerFault:
                pass
    collector = IdentifyCollector()
    try:
        collector.feed(frame(data))
        collector.finish()
    except PeerFault:
        pass


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_request_gets_exactly_one_outcome(data: st.DataObject) -> None:
    """Whatever the peer does with its streams; late replies come on top, and only after a timeout."""
    config = ConnectionConfig(request_streams=2, request_queue=6)
    served = {ECHO: RpcResponder.factory(echo, 1000), RAW: None}
    pair = Pair(dialer=endpoint_of(1, {}, config), listener=endpoint_of(2, served)).open()
    pool = RequestPool(pair.dialer)
    if data.draw(st.booleans()):
        pool.set_protocols(frozenset(served))
    outcomes: list[Reply | Failed] = []
    asked = 0

    def settle() -> None:
        while True:
            events, theirs = pair.run()
            for event in events:
                pool.feed(event, pair.now)
            for event in theirs:
                if isinstance(event, StreamData):
                    pair.listener.consumed(event.stream_id, len(event.data), pair.now)
            outcomes.extend(pool.poll_outcomes())
            if not events and not theirs and not pair.dialer.unsent_bytes:
                return

    def theirs() -> list[int]:
        session = pair.listener._session
        return sorted(session.mux.streams) if session else []

    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["ask", "ask", "ask", "answer", "reset", "end", "wait", "settle"]))
        if step == "ask":
            protocol = data.draw(st.sampled_from([ECHO, RAW, "/none/1"]))
            choices = [Choice(protocol, b"q", data.draw(st.booleans())), Choice(RAW, b"r")]
            pool.request(asked, choices, pair.now, pair.now + data.draw(st.sampled_from([0.5, 5.0])))
            asked += 1
        elif step == "wait":
            pair.now += data.draw(st.sampled_from([0.6, 11.0, 50.0]))
            pool.handle_timer(pair.now)
        elif step == "settle":
            settle()
        elif (streams := theirs()) and pair.listener.state is ConnectionState.OPEN:
            stream = data.draw(st.sampled_from(streams))
            try:
                if step == "answer":
                    pair.listener.send(stream, frame(b"a"), pair.now)
                elif step == "end":
                    pair.listener.close_write(stream, pair.now)
            except Exception as error:  # noqa: BLE001 - a stream that is not ours to write on
                assert type(error).__name__ in ("CallerFault", "StreamFailed")  # noqa: PT017
            if step == "reset":
                pair.listener.reset(stream, pair.now)
    settle()
    if data.draw(st.booleans()):
        pair.dialer.close(pair.now)
    settle()
    for _ in range(60):
        pair.now += 1
        pool.handle_timer(pair.now)
        settle()
    first = [o.request_id for o in outcomes if not (isinstance(o, Reply) and o.late)]
    assert sorted(first) == list(range(asked))
    late = {o.request_id for o in outcomes if isinstance(o, Reply) and o.late}
    assert late <= {o.request_id for o in outcomes if isinstance(o, Failed) and o.kind is FailureKind.TIMEOUT}
    assert pool.pending_count == 0
    assert pair.dialer.state is ConnectionState.CLOSED or pair.dialer.stream_count == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=5), st.integers(1, 300_000))
def test_bytes_arrive_once_and_in_order_whatever_the_window(sizes: list[int], credit: int) -> None:
    pair = Pair(dialer=ENDS[0], listener=ENDS[1]).open()
    stream = pair.dialer.open_stream([RAW], pair.now)
    assert StreamReady(stream, RAW) in pair.run()[0]
    random = Random(1)
    sent, got, owed = b"", b"", 0
    for size in sizes:
        body = random.randbytes(size)
        sent += body
        pair.dialer.send(stream, body, pair.now)
    while len(got) < len(sent):
        for event in pair.run()[1]:
            if isinstance(event, StreamData):
                got += event.data
                owed += len(event.data)
        assert owed <= 256 << 10
        step = min(owed, max(credit, 1 << 14))
        owed -= step
        pair.listener.consumed(stream, step, pair.now)
    assert got == sent
