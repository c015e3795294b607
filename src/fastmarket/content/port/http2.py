"""HTTP/2 on one connection, without I/O (RFC 9113). Frames, header compression and flow control are h2's."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from fastmarket.content.place import FileMoved
from fastmarket.content.port.bounds import (
    GATHER_BYTES,
    MAX_CONTROL_BYTES,
    MAX_HEADERS,
    MAX_RESETS,
    MAX_STREAMS,
    MAX_TARGET_BYTES,
    TURN_BYTES,
)
from fastmarket.content.port.cold import SliceCold, check_in_memory
from fastmarket.content.port.desk import AnswerDesk, too_many
from fastmarket.content.port.fields import ALWAYS
from fastmarket.content.port.messages import (
    KEPT_HEADERS,
    BodyMeter,
    GatewayAnswer,
    GatewayRequest,
    RequestRefused,
)
from fastmarket.content.port.pieces import (
    AnswerCut,
    FileSlice,
    Piece,
    Pieces,
    covers,
    cut,
    piece_bytes,
    read_slice,
    rest_of,
)
from fastmarket.content.port.speaker import not_held

STREAM_TURN_BYTES = 64 * 1024
"""Read from a file at once, and sent for a stream before others have their turn."""

_FRAME_HEAD = struct.Struct(">HBBBL")  # RFC 9113, 4.1: length of 24 bits, type (0: DATA), flags, stream
_ALWAYS = [(name.lower(), value) for name, value in ALWAYS]
_PSEUDO = frozenset({":method", ":scheme", ":authority", ":path"})
_MAX_STEPS = 256  # turns of streams that have only to look for more; then other connections have theirs
_BODILESS = frozenset({204, 304})
_Codes = h2.errors.ErrorCodes
_Setting = h2.settings.SettingCodes


class _Stream:
    """An answer under way: what is left of its current piece, and the rest."""

    __slots__ = ("body", "meter", "number", "piece")

    def __init__(self, number: int, body: Pieces, answer: GatewayAnswer) -> None:
        self.number = number
        self.body = body
        self.meter = BodyMeter(answer)
        self.piece: Piece | None = b""

    def advance(self) -> None:
        """Goes to the next piece, if nothing is left of this one. Raises AnswerCut or FileMoved."""
        if self.piece is not None and not piece_bytes(self.piece):
            self.piece = next(self.body, None)

    def take(self, most: int, was_read: FileSlice | None) -> bytes:
        """The next bytes. Raises FileMoved; SliceCold, and then they are still to be taken."""
        piece = self.piece
        assert piece is not None
        size = piece_bytes(piece)
        now = cut(piece, 0, min(most, size))
        if isinstance(now, FileSlice):
            data = read_slice(now, None if covers(was_read, now) else check_in_memory)
        else:
            data = now
        self.piece = cut(piece, len(data), size)
        self.meter.take(len(data))
        return data


class Http2Speaker:
    """Answers the requests of all streams, a frame of each in turn."""

    def __init__(
        self,
        desk: AnswerDesk,
        max_head_bytes: int,
        *,
        address: str = "",
        wake: Callable[[], None] = not_held,
        turned_away: bool = False,
    ) -> None:
        """See `Http1Speaker`."""
        self._desk = desk
        self._address = address
        self._wake = wake
        self._turned_away = turned_away
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                _Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                _Setting.MAX_HEADER_LIST_SIZE: max_head_bytes,
            },
        )
        self._h2.decoder.max_header_list_size = max_head_bytes
        self._h2.initiate_connection()
        self._asked: dict[int, GatewayRequest | RequestRefused] = {}  # whose end has not come
        self._waiting: deque[tuple[int, GatewayRequest | RequestRefused]] = deque()
        self._sending: deque[_Stream] = deque()
        self._frames: list[bytes] = []  # to be sent at once
        self.cold: FileSlice | None = None
        self._was_read: FileSlice | None = None
        self._resets = 0
        self._control = self._h2.data_to_send()  # frames that are no answers
        self._ended = False  # no further requests
        self.answered = 0
        self._handlers: dict[type[h2.events.Event], Callable[[Any], None]] = {
            h2.events.RequestReceived: self._on_request,
            h2.events.DataReceived: self._on_data,
            h2.events.StreamEnded: self._on_stream_ended,
            h2.events.StreamReset: self._on_stream_reset,
            h2.events.ConnectionTerminated: self._on_terminated,
        }

    @property
    def is_busy(self) -> bool:
        """See Speaker."""
        return bool(self._waiting or self._sending)

    @property
    def is_closing(self) -> bool:
        """See Speaker."""
        return self._ended and not self.is_busy

    @property
    def in_request(self) -> bool:
        """See Speaker."""
        return bool(self._asked)

    @property
    def wants_input(self) -> bool:
        """See Speaker: windows are opened by what comes."""
        return not (self._ended and not self.is_busy)

    def note_read(self) -> None:
        """See Speaker."""
        self._was_read, self.cold = self.cold, None

    def receive(self, data: bytes) -> None:
        """See Speaker."""
        if self.is_closing:
            return
        try:
            for event in self._h2.receive_data(data):
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except h2.exceptions.ProtocolError:
            self.receive_end()  # h2 has prepared the GOAWAY that says why
        self._control += self._h2.data_to_send()
        if len(self._control) > MAX_CONTROL_BYTES:
            self._control = b""
            self.receive_end()

    def receive_end(self) -> None:
        """See Speaker. A client that sends nothing more opens no window either."""
        self._ended = True
        self._forget()

    def next_piece(self) -> Piece | None:
        """See Speaker."""
        for _ in range(len(self._waiting)):
            number, asked = self._waiting.popleft()
            if isinstance(asked, GatewayRequest) and not self._turned_away and self._holds(asked):
                self._waiting.append((number, asked))
            else:
                self._start(number, asked)
        frames = self._frames = [self._control, self._h2.data_to_send()]
        self._control = b""
        steps = idle = 0  # idle: streams in a row that could send nothing
        while self.cold is None and idle < len(self._sending) and steps < _MAX_STEPS:
            if self._send_frames(self._sending.popleft()):
                steps, idle = steps + 1, 0
            else:
                idle += 1
            if sum(map(len, frames)) >= GATHER_BYTES:
                break
        frames.append(self._h2.data_to_send())
        return b"".join(frames) or (b"" if steps else None)

    def finish(self) -> None:
        """See Speaker."""
        if not self._ended:
            # After h2's own GOAWAY nothing more can be sent or received, also of what is under way.
            frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id)
            self._control += frame.serialize()
        self._ended = True

    def drop(self, unsent: int = 0) -> None:
        """See Speaker. What was put into frames counts as sent: up to GATHER_BYTES of several streams."""
        self._forget()
        # h2's connection refers to itself, and so does this: 17 kB would stay until the garbage collector
        # runs.
        vars(self._h2).clear()
        self._handlers.clear()

    # --- events

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        assert event.stream_id is not None
        assert event.headers is not None
        if self._ended:
            self._h2.reset_stream(event.stream_id, _Codes.REFUSED_STREAM)
            return
        self._asked[event.stream_id] = _request(event.headers, self._address)

    def _on_data(self, event: h2.events.DataReceived) -> None:
        """No request of the gateway has a body."""
        assert event.stream_id is not None
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.data and event.stream_id in self._asked:
            self._asked[event.stream_id] = RequestRefused(413, "requests have no body here")
            self._on_stream_ended(event)

    def _on_stream_ended(self, event: h2.events.StreamEnded | h2.events.DataReceived) -> None:
        assert event.stream_id is not None
        asked = self._asked.pop(event.stream_id, None)
        if asked is not None:
            self._waiting.append((event.stream_id, asked))

    def _on_stream_reset(self, event: h2.events.StreamReset) -> None:
        assert event.stream_id is not None
        self._resets += 1
        self._asked.pop(event.stream_id, None)
        self._waiting = deque(one for one in self._waiting if one[0] != event.stream_id)
        for stream in self._sending:
            if stream.number == event.stream_id:
                self._sending.remove(stream)
                self._cut(stream)
                break
        if self._resets > MAX_RESETS:
            self._h2.close_connection(_Codes.ENHANCE_YOUR_CALM)
            raise h2.exceptions.TooManyStreamsError("requests that were taken back")

    def _on_terminated(self, event: h2.events.ConnectionTerminated) -> None:
        self.receive_end()

    # ---

    def _holds(self, asked: GatewayRequest) -> bool:
        return self._desk.holds(asked, self._wake)

    def _start(self, number: int, asked: GatewayRequest | RequestRefused) -> None:
        desk = self._desk
        if self._turned_away:
            answer = desk.refuse(too_many("connections"))
        elif isinstance(asked, RequestRefused):
            answer = desk.refuse(asked)
        else:
            answer = desk.begin(asked)
        body = None if answer.length == 0 else answer.body
        try:
            self._h2.send_headers(number, self._headers(answer), end_stream=body is None)
        except h2.exceptions.ProtocolError:  # the stream is no longer open
            desk.end(whole=False)
            BodyMeter(answer).end()
            return
        if body is None:
            self._answered()
        else:
            self._sending.append(_Stream(number, body, answer))

    def _headers(self, answer: GatewayAnswer) -> list[tuple[str, str]]:
        headers = [(":status", str(answer.status)), ("date", self._desk.date())]
        headers += [(name.lower(), value) for name, value in answer.headers]
        if answer.length is not None and answer.status not in _BODILESS:
            headers.append(("content-length", str(answer.length)))
        return headers + _ALWAYS

    def _send_frames(self, stream: _Stream) -> bool:
        """Sends what a stream may send at once; False: nothing."""
        connection, number = self._h2, stream.number
        try:
            stream.advance()
            if stream.piece is None:
                connection.end_stream(number)
                self._answered()
                return True
            if not piece_bytes(stream.piece):
                self._sending.append(stream)
                return True
            most = min(connection.local_flow_control_window(number), STREAM_TURN_BYTES)
            if most <= 0:
                self._sending.append(stream)
                return False
            self._send_data(stream, most)
        except SliceCold:
            self._sending.append(stream)
            if isinstance(stream.piece, FileSlice):
                self.cold = stream.piece._replace(length=min(stream.piece.length, TURN_BYTES))
            return False
        except (AnswerCut, FileMoved):
            connection.reset_stream(number, _Codes.INTERNAL_ERROR)
            self._cut(stream)
        except h2.exceptions.ProtocolError:
            self._cut(stream)
        return True

    def _send_data(self, stream: _Stream, most: int) -> None:
        piece = stream.piece
        data = stream.take(most, self._was_read)
        if isinstance(piece, FileSlice):
            self._was_read = rest_of(self._was_read, piece.offset + len(data))
            self._desk.tally.add_sent(piece.file.path, len(data))
        stream.advance()
        is_last = stream.piece is None
        size = self._h2.max_outbound_frame_size
        whole = len(data) - (len(data) - 1) % size - 1 if is_last else len(data)
        self._write_frames(stream.number, data[:whole] if is_last else data, size)
        if is_last:
            self._h2.send_data(stream.number, data[whole:], end_stream=True)
            self._answered()
        else:
            self._sending.append(stream)

    def _write_frames(self, number: int, data: bytes, size: int) -> None:
        """DATA frames without END_STREAM, as h2's `send_data` makes them, which takes 15 us for each and
        copies it three times: of a GiB in frames of 16 KiB a second. The windows stay h2's."""
        if not data:
            return
        connection = self._h2
        # Frames that h2 has prepared come first.
        self._frames.append(connection.data_to_send())
        for at in range(0, len(data), size):
            frame = data[at : at + size] if len(data) > size else data
            self._frames.append(_FRAME_HEAD.pack(len(frame) >> 8, len(frame) & 0xFF, 0, 0, number))
            self._frames.append(frame)
        connection.outbound_flow_control_window -= len(data)
        connection.streams[number].outbound_flow_control_window -= len(data)

    def _answered(self) -> None:
        self.answered += 1
        self._desk.end(whole=True)

    def _forget(self) -> None:
        self._asked.clear()
        self._waiting.clear()
        for stream in self._sending:
            self._cut(stream)
        self._sending.clear()

    def _cut(self, stream: _Stream) -> None:
        """It ends before its end."""
        self._desk.end(whole=False)
        stream.meter.end()


def _request(headers: list[Any], address: str) -> GatewayRequest | RequestRefused:
    """The request in a header list, which h2 has found to be well-formed."""
    if len(headers) > MAX_HEADERS + len(_PSEUDO):
        return RequestRefused(431, f"a request has at most {MAX_HEADERS} headers")
    pseudo = {}
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = bytes(raw_name).decode("latin-1"), bytes(raw_value)
        if name in _PSEUDO:
            pseudo[name] = value
        elif name in KEPT_HEADERS:
            text = value.decode("latin-1")
            kept[name] = f"{kept[name]}, {text}" if name in kept else text
    path = pseudo.get(":path", b"")
    if len(path) > MAX_TARGET_BYTES:
        return RequestRefused(414, f"a path with its query has at most {MAX_TARGET_BYTES} bytes")
    try:
        return GatewayRequest(pseudo.get(":method", b"").decode(), path.decode(), kept, address)
    except UnicodeDecodeError:
        return RequestRefused(400, "a path that is not UTF-8")
