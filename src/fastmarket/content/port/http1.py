"""HTTP/1.1 on one connection, without I/O (RFC 9112). The parser is llhttp's, in httptools."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import NamedTuple

import httptools

from fastmarket.content.port.bounds import MAX_HEADERS, MAX_PIPELINED, MAX_TARGET_BYTES
from fastmarket.content.port.desk import AnswerDesk, too_many
from fastmarket.content.port.fields import ALWAYS
from fastmarket.content.port.gateway import method_refused
from fastmarket.content.port.messages import (
    KEPT_HEADERS,
    BodyMeter,
    GatewayAnswer,
    GatewayRequest,
    RequestRefused,
)
from fastmarket.content.port.pieces import Piece, Pieces, piece_bytes
from fastmarket.content.port.speaker import not_held

_KEPT = {name.encode(): name for name in KEPT_HEADERS}
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_ALWAYS = "".join(f"{name}: {value}\r\n" for name, value in ALWAYS)
_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_BODILESS = frozenset({204, 304})  # without Content-Length


class _Waiting(NamedTuple):
    """`last`: the connection ends after it; `chunks`: its client knows chunked bodies."""

    asked: GatewayRequest | RequestRefused
    last: bool
    chunks: bool


class Http1Speaker:
    """Answers one request after the other."""

    def __init__(
        self,
        desk: AnswerDesk,
        max_head_bytes: int,
        *,
        address: str = "",
        wake: Callable[[], None] = not_held,
        turned_away: bool = False,
    ) -> None:
        """`address`: of the other side; `wake` is called when a request that was held may be answered;
        `turned_away`: whatever is asked, the answer is 429."""
        self._desk = desk
        self._address = address
        self._wake = wake
        self._max_head_bytes = max_head_bytes
        self._turned_away = turned_away
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Waiting] = deque()
        self._body: Pieces | None = None
        self._meter: BodyMeter | None = None  # of a body that costs something
        self._answering = self._last = self._ended = False
        self._close_after = False  # after the answer under way
        self._head_bytes = 0  # of the request that is coming
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self.in_request = False
        self.is_closing = False
        self.answered = 0

    @property
    def is_busy(self) -> bool:
        """See Speaker."""
        return self._answering or bool(self._waiting)

    @property
    def wants_input(self) -> bool:
        """See Speaker."""
        return not self._ended and len(self._waiting) < MAX_PIPELINED

    @property
    def cold(self) -> None:
        """Nothing: slices are sent as such."""
        return None

    def note_read(self) -> None:
        """See Speaker."""

    def receive(self, data: bytes) -> None:
        """See Speaker."""
        if self._ended:
            return
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(RequestRefused(400, "not HTTP/1.1"))
            return
        except RequestRefused as refused:
            self._refuse(refused)
            return
        if self.in_request and self._head_bytes > self._max_head_bytes:
            self._refuse(RequestRefused(431, f"a request has at most {self._max_head_bytes} bytes"))

    def receive_end(self) -> None:
        """See Speaker."""
        self._ended = True
        self.in_request = False
        if not self.is_busy:
            self.is_closing = True
        elif self._waiting:
            self._end_with_last()
        else:
            self._close_after = True

    def next_piece(self) -> Piece | None:
        """See Speaker."""
        if self._body is not None:
            piece = next(self._body, None)
            if piece is not None:
                if self._meter is not None:
                    self._meter.take(piece_bytes(piece))
                return piece
            self._body = None
        if self._answering:
            self._answered()
        if not self._waiting or self.is_closing:
            return None
        asked = self._waiting[0].asked
        if (
            isinstance(asked, GatewayRequest)
            and not self._turned_away
            and self._desk.holds(asked, self._wake)
        ):
            return None
        return self._start(self._waiting.popleft())

    def finish(self) -> None:
        """See Speaker."""
        self.receive_end()

    def drop(self, unsent: int = 0) -> None:
        """See Speaker."""
        self._waiting.clear()
        self._body = None
        # The two refer to each other: what the parser holds would stay until the garbage collector runs.
        del self._parser
        if self._answering:
            self._answering = False
            self._desk.end(whole=False)
        if self._meter is not None:
            self._meter.end(unsent)

    # --- of the parser

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self.in_request = True
        self._url, self._headers, self._header_count = b"", {}, 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url
        if len(self._url) > MAX_TARGET_BYTES:
            raise RequestRefused(414, f"a path with its query has at most {MAX_TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of several with one name the values make a list."""
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            raise RequestRefused(431, f"a request has at most {MAX_HEADERS} headers")
        kept = _KEPT.get(name.lower())
        if kept is not None:
            text = value.decode("latin-1")
            before = self._headers.get(kept)
            self._headers[kept] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        """Bodies are not read: no request of the gateway has one."""
        if self._parser.get_method() not in _METHODS:
            raise method_refused()
        if self._headers.get("content-length", "0") != "0" or "transfer-encoding" in self._headers:
            raise RequestRefused(413, "requests have no body here")

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.in_request = False
        self._head_bytes = 0
        if self._last:
            return
        if len(self._waiting) >= MAX_PIPELINED:
            self._last = True
            self._end_with_last()
            return
        try:
            target = self._url.decode()
        except UnicodeDecodeError:
            raise RequestRefused(400, "a path that is not UTF-8") from None
        request = GatewayRequest(self._parser.get_method().decode(), target, self._headers, self._address)
        self._last = not self._parser.should_keep_alive()
        self._waiting.append(_Waiting(request, self._last, self._parser.get_http_version() == "1.1"))

    # ---

    def _end_with_last(self) -> None:
        self._waiting.append(self._waiting.pop()._replace(last=True))

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]  # we speak nothing else; the request counts as any
            except httptools.HttpParserCallbackError as error:
                raise error.__context__ or error from None
            else:
                return

    def _refuse(self, refused: RequestRefused) -> None:
        """What follows cannot be told apart any more."""
        self.in_request = False
        self._ended = True
        if not self._last:
            self._last = True
            self._waiting.append(_Waiting(refused, True, False))

    def _start(self, waiting: _Waiting) -> bytes:
        desk, (asked, last, chunks) = self._desk, waiting
        if self._turned_away:
            answer, last = desk.refuse(too_many("connections")), True
        elif isinstance(asked, RequestRefused):
            answer = desk.refuse(asked)
        else:
            answer = desk.begin(asked)
        self._answering = True
        self._close_after = self._close_after or last
        self._body = answer.body
        self._meter = None if answer.charge is None else BodyMeter(answer)
        lines = self._framed(answer, chunks)
        if self._close_after:
            lines += "Connection: close\r\n"
        return f"{_LINES[answer.status]}{lines}Date: {desk.date()}\r\n{_ALWAYS}\r\n".encode("latin-1")

    def _framed(self, answer: GatewayAnswer, chunks: bool) -> str:
        lines = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
        if answer.status in _BODILESS:
            return lines
        if answer.length is not None:
            return f"{lines}Content-Length: {answer.length}\r\n"
        if self._body is None:
            return lines
        if chunks:
            self._body = _chunked(self._body)
            return f"{lines}Transfer-Encoding: chunked\r\n"
        self._close_after = True  # the end of the connection is the end of the body
        return lines

    def _answered(self) -> None:
        self._answering = False
        self.answered += 1
        self._desk.end(whole=True)
        if self._close_after:
            self.is_closing = True


def _chunked(body: Pieces) -> Iterator[Piece]:
    """A body of unknown length. Without the last chunk it does not look complete."""
    for piece in body:
        size = piece_bytes(piece)
        if not size:
            yield b""
        elif isinstance(piece, bytes):
            yield b"%x\r\n%b\r\n" % (size, piece)
        else:
            yield b"%x\r\n" % size
            yield piece
            yield b"\r\n"
    yield b"0\r\n\r\n"
