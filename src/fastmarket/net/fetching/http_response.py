"""HTTP/1.1 responses of one connection, from bytes that were received in place (RFC 9112); sans-IO.

The head is parsed by httptools (llhttp). The body of a response with a length is received into a buffer of
exactly that length: it is not parsed, and copied once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

import httptools

from fastmarket.errors import LimitExceeded, PeerFault

PROTOCOL = "HTTP"
MAX_HEAD_BYTES = 16 * 1024  # status line and headers; the gateways of IPFS send below 2 KiB
MAX_INTERIM_COUNT = 4  # 1xx responses before the real one: 100 and 103 are used, one each
MAX_DISCARDED_BYTES = 64 * 1024  # of the body of an error; with a longer one the connection is given up
MAX_RETRY_AFTER_CHARS = 64  # of Retry-After: seconds or a date
# Of a chunked body: chunks of one byte take six. Beyond this it is a way of keeping us busy.
_CHUNKED_FACTOR = 8

_OK = 200
_NO_CONTENT = 204
_NOT_MODIFIED = 304
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response. `body` is empty unless the status is 200. `is_kept`: another request may follow
    on the connection. `payment`: PAYMENT-REQUIRED or PAYMENT-RESPONSE, or ""."""

    status: int
    body: bytes
    retry_after: str
    is_kept: bool
    payment: str = ""


class TooLong(LimitExceeded):
    """The body of a block is longer than was asked for."""

    def __init__(self, limit: int, got: int | None = None) -> None:
        super().__init__("bytes of a block", limit, got, protocol=PROTOCOL)


class _Stage(Enum):
    IDLE = auto()  # nothing is expected
    HEAD = auto()
    BODY = auto()  # of known length
    CHUNKED = auto()


class _Head:
    """What httptools reports of a response: its methods are called by the parser."""

    __slots__ = (
        "body",
        "coding",
        "content_coding",
        "is_complete",
        "is_ended",
        "is_followed",
        "is_kept",
        "length",
        "most_bytes",
        "parser",
        "payment",
        "retry_after",
    )

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.length: int | None = None
        self.coding = b""
        self.content_coding = b""
        self.retry_after = b""
        self.payment = b""
        self.is_complete = False
        self.is_ended = False
        self.is_kept = False
        self.is_followed = False  # by another response that nobody asked for
        self.body = bytearray()
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.is_followed = self.is_ended

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_complete:
            return  # trailers
        name = name.lower()
        if name == b"content-length":
            self.length = int(value)  # llhttp has checked it
        elif name == b"transfer-encoding":
            self.coding = value.strip().lower()
        elif name == b"content-encoding":
            self.content_coding = value.strip().lower()
        elif name == b"retry-after":
            self.retry_after = value
        elif name in (b"payment-required", b"payment-response"):
            self.payment = value

    def on_headers_complete(self) -> None:
        self.is_complete = True
        self.is_kept = self.parser.should_keep_alive()  # it forgets at the end of the message

    def on_body(self, body: bytes) -> None:
        if len(self.body) <= self.most_bytes:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_ended = True

    def release(self) -> None:
        """Parser and head refer to each other: the body would stay until the garbage collector runs, which a
        node has do so rarely."""
        with suppress(AttributeError):  # released before
            del self.parser
        self.body = bytearray()

    def feed(self, raw: bytes | memoryview) -> None:
        """Raises PeerFault."""
        try:
            self.parser.feed_data(raw)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise PeerFault(f"malformed response: {error}", protocol=PROTOCOL) from None


class HttpResponses:
    """The responses of one connection, one after the other. After a PeerFault nothing of it can be used."""

    __slots__ = ("_body", "_filled", "_head", "_interim", "_is_head", "_most", "_room", "_stage", "_wire")

    def __init__(self) -> None:
        self._room = memoryview(bytearray(MAX_HEAD_BYTES))  # what is received outside of a body
        self._filled = 0  # of the room, or in the stage BODY of the body
        self._head = _Head(0)
        self._body = memoryview(b"")
        self._stage = _Stage.IDLE
        self._is_head = False
        self._most = 0
        self._interim = 0
        self._wire = 0  # bytes of a chunked body so far

    def expect(self, most_bytes: int, *, is_head: bool = False) -> None:
        """A request was sent; `most_bytes` of body are taken. `is_head`: it was a HEAD."""
        assert self._stage is _Stage.IDLE, "one request at a time"
        self._stage = _Stage.HEAD
        self._most, self._is_head = most_bytes, is_head
        self._filled = self._interim = self._wire = 0

    def close(self) -> None:
        """Lets go of what has come of a response; nothing more is received."""
        self._head.release()
        self._stage, self._filled, self._body = _Stage.IDLE, 0, memoryview(b"")

    def buffer(self) -> memoryview:
        """Where to put what comes next; never empty."""
        if self._stage is _Stage.BODY:
            return self._body[self._filled :]
        return self._room[self._filled :]

    def handle_received(self, count: int) -> HttpResponse | None:
        """`count` bytes were put into the buffer. Raises PeerFault."""
        if self._stage is _Stage.BODY:
            self._filled += count
            return self._finished() if self._filled == len(self._body) else None
        if self._stage is _Stage.IDLE:
            raise PeerFault("bytes that nobody asked for", protocol=PROTOCOL)
        if self._stage is _Stage.CHUNKED:
            return self._chunked(self._room[:count])
        before, self._filled = self._filled, self._filled + count
        return self._read_head(max(0, before - len(_HEAD_END) + 1))

    def _read_head(self, start: int) -> HttpResponse | None:
        """Looks for the end of the head from `start` on."""
        while True:
            room = self._room.obj
            assert isinstance(room, bytearray)
            end = room.find(_HEAD_END, start, self._filled)
            if end < 0:
                if self._filled == MAX_HEAD_BYTES:
                    raise LimitExceeded("bytes of headers", MAX_HEAD_BYTES, protocol=PROTOCOL)
                return None
            end += len(_HEAD_END)
            self._head = head = _Head(self._most)
            head.feed(self._room[:end])
            if not head.is_complete or not head.parser.get_http_version().startswith("1."):
                raise PeerFault("not a response of HTTP/1", protocol=PROTOCOL)
            if head.parser.get_status_code() >= _OK:
                return self._begin_body(end)
            self._interim += 1
            if self._interim > MAX_INTERIM_COUNT:
                raise LimitExceeded("interim responses", MAX_INTERIM_COUNT, protocol=PROTOCOL)
            rest = bytes(self._room[end : self._filled])
            self._room[: len(rest)] = rest
            self._filled, start = len(rest), 0

    def _begin_body(self, end: int) -> HttpResponse | None:
        """The head ended at `end`; the body has begun behind it."""
        head = self._head
        status = head.parser.get_status_code()
        came = self._filled - end
        if self._is_head or status in (_NO_CONTENT, _NOT_MODIFIED):
            if came:
                raise PeerFault("a body where there is none", protocol=PROTOCOL)
            self._body = memoryview(bytearray())
            return self._finished()
        if head.content_coding not in (b"", b"identity"):
            raise PeerFault("an encoding that was not asked for", protocol=PROTOCOL)
        if status != _OK and (head.length is None or head.length > MAX_DISCARDED_BYTES):
            return self._abandoned()
        if head.coding:
            if head.coding != b"chunked":
                raise PeerFault("an unknown transfer coding", protocol=PROTOCOL)
            self._stage = _Stage.CHUNKED
            rest, self._filled = bytes(self._room[end : self._filled]), 0
            return self._chunked(memoryview(rest))
        if head.length is None:
            raise PeerFault("a body of unknown length", protocol=PROTOCOL)
        most = self._most if status == _OK else MAX_DISCARDED_BYTES
        if head.length > most:
            raise TooLong(most, head.length)
        if came > head.length:
            raise PeerFault("more bytes than announced", protocol=PROTOCOL)
        self._body = memoryview(bytearray(head.length))
        self._body[:came] = self._room[end : self._filled]
        if came == head.length:
            return self._finished()
        self._stage, self._filled = _Stage.BODY, came
        return None

    def _chunked(self, raw: memoryview) -> HttpResponse | None:
        head = self._head
        self._wire += len(raw)
        if raw:
            head.feed(raw)
        if len(head.body) > self._most:
            raise TooLong(self._most)
        if head.is_followed:
            raise PeerFault("bytes that nobody asked for", protocol=PROTOCOL)
        if not head.is_ended:
            if self._wire > self._most * _CHUNKED_FACTOR + MAX_DISCARDED_BYTES:
                raise PeerFault("a body of tiny chunks", protocol=PROTOCOL)
            return None
        self._body = memoryview(head.body)
        return self._finished()

    def _finished(self) -> HttpResponse:
        return self._answer(self._head.is_kept)

    def _abandoned(self) -> HttpResponse:
        """An error, whose body nobody waits for."""
        self._body = memoryview(bytearray())
        return self._answer(False)

    def _answer(self, is_kept: bool) -> HttpResponse:
        head, body = self._head, self._body.obj
        assert isinstance(body, bytearray)
        self._stage, self._filled, self._body = _Stage.IDLE, 0, memoryview(b"")
        retry_after = head.retry_after[:MAX_RETRY_AFTER_CHARS].decode("latin-1").strip()
        payment = head.payment.decode("latin-1").strip()
        status = head.parser.get_status_code()
        # What hashes and writes it wants bytes; a copy within the processor's cache takes 3 us for 256 KiB.
        response = HttpResponse(status, bytes(body) if status == _OK else b"", retry_after, is_kept, payment)
        head.release()
        return response
