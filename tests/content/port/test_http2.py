"""HTTP/2 without a socket, with h2 as the client: streams, windows, and what a stranger may send."""

from __future__ import annotations

import gc
import weakref
from collections import defaultdict
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hyperframe.frame import DataFrame, Frame, GoAwayFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.content.port.bounds import MAX_HEADERS, MAX_RESETS, MAX_STREAMS, MAX_TARGET_BYTES
from fastmarket.content.port.cashier import Cashier
from fastmarket.content.port.desk import AnswerDesk
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.http2 import Http2Speaker
from fastmarket.content.port.tally import PortTally
from fastmarket.formats.block import verify_block
from tests.content.port.asking import cids_of
from tests.content.port.conftest import TEXT
from tests.content.port.shop import Shop

HELLO = "/ipfs/bafkqabtimvwgy3yk?format=raw"


class Talk:
    """One connection; `windows`: whether the client lets through what comes."""

    def __init__(
        self,
        shop: Shop,
        *,
        windows: bool = True,
        turned_away: bool = False,
        max_requests: int = 1000,
        cashier: Cashier | None = None,
    ) -> None:
        self.tally = PortTally()
        desk = AnswerDesk(Gateway(shop, cashier), self.tally, max_requests)
        self.speaker = Http2Speaker(desk, 16 * 1024, turned_away=turned_away)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.client.initiate_connection()
        self._windows = windows
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: defaultdict[int, bytes] = defaultdict(bytes)
        self.order: list[int] = []  # of streams, by the data that came
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.gone: h2.events.ConnectionTerminated | None = None

    def ask(self, path: str, method: str = "GET", **headers: str) -> int:
        number = self.client.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)]
        self.client.send_headers(number, pseudo + list(headers.items()), end_stream=True)
        return number

    def run(self) -> None:
        """Until neither side has anything to say."""
        while True:
            data = self.client.data_to_send()
            if data:
                self.speaker.receive(data)
            piece = self.speaker.next_piece()
            assert isinstance(piece, bytes | None)
            if piece:
                for event in self.client.receive_data(piece):
                    self._note(event)
            if not data and piece is None:
                return

    def _note(self, event: h2.events.Event) -> None:
        number: Any = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.ResponseReceived):
            self.headers[number] = dict(event.headers or ())  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[number] += event.data or b""
            self.order.append(number)
            if self._windows and event.flow_controlled_length:
                self.client.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(number)
        elif isinstance(event, h2.events.StreamReset):
            self.reset[number] = int(event.error_code or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.gone = event

    def status(self, number: int) -> int:
        return int(self.headers[number][":status"])


def test_many_requests_on_one_connection(shop: Shop, file: Path) -> None:
    shop.sell(file)
    talk = Talk(shop)
    asked = {talk.ask(f"/ipfs/{cid}?format=raw"): cid for cid in shop.leaves}
    talk.run()
    for number, cid in asked.items():
        assert talk.status(number) == 200
        assert verify_block(cid, talk.bodies[number])
        assert talk.headers[number]["content-length"] == str(len(talk.bodies[number]))
        assert talk.headers[number]["access-control-allow-origin"] == "*"
    assert talk.ended == set(asked)
    assert (talk.tally.running, talk.speaker.answered) == (0, len(asked))
    assert not talk.speaker.is_busy
    assert sum(talk.tally.take_sent().values()) == len(TEXT)


def test_streams_take_turns(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop)
    talk.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
    talk.client.increment_flow_control_window(1 << 24)
    talk.run()
    asked = [talk.ask(f"/ipfs/{root}") for _ in range(3)]
    talk.run()
    assert all(talk.bodies[number] == TEXT for number in asked)
    turns = [talk.order[at] for at in range(0, len(talk.order), 4)]  # four frames of 16 KiB each
    assert [set(turns[at : at + 3]) for at in (0, 3, 6)] == [set(asked)] * 3


@settings(max_examples=50)
@given(
    window=st.integers(1, 200_000),
    frame=st.sampled_from([16_384, 20_000, 65_536, 1 << 24]),
    steps=st.lists(st.integers(1, 150_000), max_size=12),
)
def test_windows_are_kept(
    tmp_path_factory: pytest.TempPathFactory, window: int, frame: int, steps: list[int]
) -> None:
    """h2 as a client complains of every byte too many, and of every frame too large."""
    path = tmp_path_factory.mktemp("file") / "file"
    path.write_bytes(TEXT)
    shop = Shop()
    try:
        root = shop.sell(path)
        talk = Talk(shop, windows=False)
        codes = h2.settings.SettingCodes
        talk.client.update_settings(
            {codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: min(frame, 16_777_215)}
        )
        talk.run()
        asked = [talk.ask(f"/ipfs/{root}"), talk.ask(f"/ipfs/{root}?format=car")]
        talk.run()
        for step in steps:
            talk.client.increment_flow_control_window(step)
            talk.client.increment_flow_control_window(step, asked[0])
            talk.run()
        assert TEXT.startswith(talk.bodies[asked[0]])
        allowed = 65_535 + sum(steps)
        assert len(talk.bodies[asked[0]]) + len(talk.bodies[asked[1]]) <= allowed
        for number in asked:
            talk.client.increment_flow_control_window(1 << 24, number)
        talk.client.increment_flow_control_window(1 << 24)
        talk.run()
        assert talk.bodies[asked[0]] == TEXT
        assert len(cids_of(talk.bodies[asked[1]])) == 5
    finally:
        shop.close()


def test_head_and_probe(shop: Shop) -> None:
    talk = Talk(shop)
    head, probe, options = (
        talk.ask(HELLO, "HEAD"),
        talk.ask("/ipfs/bafkqaaa?format=raw"),
        talk.ask("/", "OPTIONS"),
    )
    talk.run()
    assert talk.headers[head]["content-length"] == "6"
    assert not talk.bodies
    assert [talk.status(number) for number in (head, probe, options)] == [200, 200, 204]
    assert talk.ended == {head, probe, options}
    assert "content-length" not in talk.headers[options]


def test_nothing_is_sent_that_is_not_let_through(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop, windows=False)
    number = talk.ask(f"/ipfs/{root}")
    talk.run()
    assert len(talk.bodies[number]) == 65_535
    assert talk.speaker.is_busy
    talk.client.increment_flow_control_window(1 << 24)
    talk.client.increment_flow_control_window(1 << 24, number)
    talk.run()
    assert talk.bodies[number] == TEXT
    assert not talk.speaker.is_busy


def test_a_stream_without_window_holds_up_no_other(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop)
    talk.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    talk.run()
    shut = talk.ask(f"/ipfs/{root}")
    open_ = talk.ask(f"/ipfs/{root}")
    talk.client.increment_flow_control_window(1 << 24, open_)
    talk.client.increment_flow_control_window(1 << 24)
    talk.run()
    assert talk.bodies[open_] == TEXT
    assert not talk.bodies[shut]


def test_a_car_that_is_cut_is_reset(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop)
    whole = talk.ask(f"/ipfs/{root}?format=car")
    talk.run()
    assert len(cids_of(talk.bodies[whole])) == 5
    shop.forget(shop.leaves[2].multihash)
    broken, other = talk.ask(f"/ipfs/{root}?format=car"), talk.ask(HELLO)
    talk.run()
    assert talk.reset == {broken: h2.errors.ErrorCodes.INTERNAL_ERROR}
    assert broken not in talk.ended
    assert talk.bodies[other] == b"hello\n"
    assert (talk.tally.aborted, talk.tally.running) == (1, 0)


def test_a_file_that_changes_under_way_is_reset(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop, windows=False)
    number = talk.ask(f"/ipfs/{root}")
    talk.run()
    file.write_bytes(bytes(len(TEXT)))
    talk.client.increment_flow_control_window(1 << 24)
    talk.client.increment_flow_control_window(1 << 24, number)
    talk.run()
    assert number in talk.reset
    assert TEXT.startswith(talk.bodies[number])


def test_an_answer_that_is_taken_back_ends(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop, windows=False)
    number = talk.ask(f"/ipfs/{root}")
    talk.run()
    talk.client.reset_stream(number)
    talk.run()
    assert not talk.speaker.is_busy
    assert (talk.tally.aborted, talk.tally.running) == (1, 0)


def test_who_takes_back_too_often_is_sent_away(shop: Shop) -> None:
    talk = Talk(shop)
    for _ in range(MAX_RESETS + 1):
        talk.client.reset_stream(talk.ask(HELLO))
        talk.run()
        if talk.gone is not None:
            break
    assert talk.gone is not None
    assert talk.gone.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert talk.speaker.is_closing
    assert talk.tally.running == 0


def test_more_streams_than_allowed_end_the_connection(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop, windows=False)
    talk.client.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 10_000
    for _ in range(MAX_STREAMS + 1):
        talk.ask(f"/ipfs/{root}")
    talk.run()
    assert talk.gone is not None
    assert talk.speaker.is_closing
    assert talk.tally.running == 0


def test_a_body_is_refused(shop: Shop) -> None:
    talk = Talk(shop)
    number = talk.client.get_next_available_stream_id()
    pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", HELLO)]
    talk.client.send_headers(number, pseudo)
    talk.client.send_data(number, b"body", end_stream=False)
    talk.run()
    assert talk.status(number) == 413


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ipfs/" + "a" * MAX_TARGET_BYTES, {}, 414),
        (HELLO, {f"a{number}": "b" for number in range(MAX_HEADERS + 1)}, 431),
        ("/ipfs/nonsense", {}, 400),
        ("/", {}, 404),
    ],
)
def test_what_is_no_request_costs_its_stream(
    shop: Shop, path: str, headers: dict[str, str], status: int
) -> None:
    talk = Talk(shop)
    bad, good = talk.ask(path, **headers), talk.ask(HELLO)
    talk.run()
    assert (talk.status(bad), talk.status(good)) == (status, 200)


def test_a_header_list_that_is_too_large_ends_the_connection(shop: Shop) -> None:
    talk = Talk(shop)
    talk.client.remote_settings[h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE] = 1 << 20
    for number in range(9):
        talk.ask(HELLO, **{f"header-{number}": "x" * 20_000})
    talk.run()
    assert talk.speaker.is_closing


def test_pings_that_nobody_reads_are_not_collected(shop: Shop) -> None:
    talk = Talk(shop)
    talk.run()
    for _ in range(10_000):
        talk.client.ping(b"12345678")
        talk.speaker.receive(talk.client.data_to_send())
    assert talk.speaker.is_closing
    assert talk.speaker.next_piece() is None


def test_too_many_are_told_to_wait(shop: Shop) -> None:
    for talk in (Talk(shop, turned_away=True), Talk(shop, max_requests=0)):
        number = talk.ask(HELLO)
        talk.run()
        assert talk.status(number) == 429
        assert talk.headers[number]["retry-after"] == "5"


def test_it_ends_after_what_is_under_way(shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    talk = Talk(shop, windows=False)
    number = talk.ask(f"/ipfs/{root}")
    talk.run()
    talk.speaker.finish()
    talk.client.increment_flow_control_window(1 << 24, number)
    talk.client.increment_flow_control_window(1 << 24)
    talk.speaker.receive(talk.client.data_to_send())
    assert not talk.speaker.is_closing
    frames = frames_of(talk.speaker)  # h2 as a client takes nothing more after a GOAWAY; others do
    assert isinstance(frames[0], GoAwayFrame)
    assert frames[0].last_stream_id == number
    rest = b"".join(frame.data for frame in frames if isinstance(frame, DataFrame))
    assert talk.bodies[number] + rest == TEXT
    assert talk.speaker.is_closing


def frames_of(speaker: Http2Speaker) -> list[Frame]:
    data = b""
    while (piece := speaker.next_piece()) is not None:
        assert isinstance(piece, bytes)
        data += piece
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
def test_no_bytes_raise(parts: list[bytes], after_a_preface: bool) -> None:
    talk = Talk(Shop())
    if after_a_preface:
        talk.run()
    for part in parts:
        talk.speaker.receive(part)
        talk.speaker.next_piece()
    talk.speaker.receive_end()
    while talk.speaker.next_piece() is not None:
        pass
    assert talk.speaker.is_closing


@settings(max_examples=200)
@given(st.integers(0, 400), st.integers(0, 255))
def test_no_changed_byte_raises(at: int, value: int) -> None:
    talk = Talk(Shop())
    talk.ask(HELLO, accept="application/vnd.ipld.raw")
    talk.ask("/ipfs/bafkqaaa")
    data = bytearray(talk.client.data_to_send())
    data[at % len(data)] = value
    talk.speaker.receive(bytes(data))
    while talk.speaker.next_piece() is not None:
        pass
    talk.speaker.drop()
    assert talk.tally.running == 0


def test_nothing_of_a_connection_waits_for_the_garbage_collector(shop: Shop) -> None:
    """A node has it run rarely, and strangers open as many as they like."""
    talk = Talk(shop)
    talk.ask(HELLO)
    talk.run()
    gc.disable()
    try:
        talk.speaker.drop()
        speaker, connection = weakref.ref(talk.speaker), weakref.ref(talk.speaker._h2)
        del talk
        assert speaker() is None
        assert connection() is None
    finally:
        gc.enable()
