"""multistream-select 1.0, both roles (specs: connections/README.md; lazy as in go-multistream and V1Lazy).

A token is its uvarint length, its text and a newline, which the length includes. Both roles accept everything
in one chunk: header, protocol and the protocol's own first bytes, which stay in `rest`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.varint import encode_uvarint

HEADER_TEXT = "/multistream/1.0.0"
MAX_TOKEN_BYTES = 1024  # newline included; go-multistream refuses longer ones
_LENGTH_BYTES = 2  # a uvarint of at most MAX_TOKEN_BYTES
_ONE_BYTE_LENGTH = 0x7F  # the largest length in a one-byte uvarint
_PROTOCOL = "multistream"


@lru_cache(maxsize=256)
def encode_token(text: str) -> bytes:
    """The token on the wire; raises CallerFault if `text` cannot be one."""
    body = text.encode() + b"\n"
    if b"\n" in body[:-1] or len(body) > MAX_TOKEN_BYTES:
        raise CallerFault("protocol", "contains a newline or is too long")
    return encode_uvarint(len(body)) + body


HEADER = encode_token(HEADER_TEXT)
NOT_AVAILABLE = encode_token("na")


@lru_cache(maxsize=256)
def acceptance(protocol: str) -> bytes:
    """A listener's answer to header and proposal at once."""
    return HEADER + encode_token(protocol)


def read_opening(data: bytes, supported: Collection[str]) -> tuple[str, int] | None:
    """(protocol, start of its first bytes) if `data` begins with the complete header and an acceptable
    proposal, as nearly every stream does. None: `ListenerNegotiation` has to parse it."""
    start = len(HEADER)
    if len(data) <= start or not data.startswith(HEADER):
        return None
    end = start + 1 + data[start]
    if data[start] > _ONE_BYTE_LENGTH or data[end - 1 : end] != b"\n":
        return None
    try:
        protocol = data[start + 1 : end - 1].decode("ascii")
    except UnicodeDecodeError:
        return None
    return (protocol, end) if protocol in supported else None


class TokenReader:
    """Cuts a byte stream into tokens; what follows the last token taken stays in `buffer`."""

    __slots__ = ("_greeted", "buffer")

    def __init__(self) -> None:
        self.buffer = b""
        self._greeted = False

    def feed(self, data: bytes) -> None:
        """Buffers at most one turn's bytes of the stream below; tokens are taken before more is fed."""
        self.buffer = self.buffer + data if self.buffer else data

    def take_header(self) -> bool:
        """True once, when the header is complete; raises PeerFault at the first byte that differs from it."""
        if self._greeted:
            return False
        if not HEADER.startswith(self.buffer[: len(HEADER)]):
            raise PeerFault("not a multistream header", protocol=_PROTOCOL)
        self._greeted = len(self.buffer) >= len(HEADER)
        if self._greeted:
            self.buffer = self.buffer[len(HEADER) :]
        return self._greeted

    def next_token(self) -> bytes | None:
        """The next token after the header, without its newline, or None; raises PeerFault if malformed."""
        buffer = self.buffer
        if not buffer or not self._greeted:
            return None
        size, start = buffer[0], 1
        if size > 0x7F:
            if len(buffer) < _LENGTH_BYTES:
                return None
            size, start = (size & 0x7F) | buffer[1] << 7, _LENGTH_BYTES
        if size > MAX_TOKEN_BYTES:
            raise LimitExceeded("token bytes", MAX_TOKEN_BYTES, size, protocol=_PROTOCOL)
        if size == 0:
            raise PeerFault("empty token", protocol=_PROTOCOL)
        end = start + size
        if len(buffer) < end:
            return None
        if buffer[end - 1] != 0x0A:
            raise PeerFault("token without newline", protocol=_PROTOCOL)
        self.buffer = buffer[end:]
        return buffer[start : end - 1]


class ListenerNegotiation:
    """Answers proposals until one is supported.

    `receive` returns what to send; afterwards `chosen` is the agreed protocol or None, and `rest` its first
    bytes.
    """

    __slots__ = ("_has_refused", "_left", "_reader", "_supported", "chosen", "declined")

    def __init__(self, supported: Collection[str], *, max_proposals: int) -> None:
        self._supported = supported
        self._reader = TokenReader()
        self._left = max_proposals
        self._has_refused = False
        self.chosen: str | None = None
        self.declined = False

    @property
    def rest(self) -> bytes:
        """Bytes after the negotiation."""
        return self._reader.buffer

    def receive(self, data: bytes) -> bytes:
        """Raises PeerFault if this is not multistream-select, or has too many proposals.

        `declined`: a lazy dialer sent data after a proposal we refuse; send the refusal and close.
        """
        if self.declined:
            return b""
        self._reader.feed(data)
        reply = HEADER if self._reader.take_header() else b""
        while self.chosen is None and not self.declined:
            try:
                token = self._reader.next_token()
            except PeerFault:
                if not self._has_refused:
                    raise
                self.declined = True
                break
            if token is None:
                break
            self._left -= 1
            if self._left < 0:
                raise PeerFault("too many proposals", protocol=_PROTOCOL)
            reply += self._answer(token)
        return reply

    def _answer(self, token: bytes) -> bytes:
        # Undecodable text cannot be a protocol of ours; `ls` is not supported (it is unused, and leaks).
        text = token.decode("utf-8", "replace")
        if text not in self._supported:
            self._has_refused = True  # its own data may follow, in this chunk or in a later one
            return NOT_AVAILABLE
        self.chosen = text
        return encode_token(text)


class DialerNegotiation:
    """Proposes protocols in order until the listener echoes one.

    Send `opening()` first: the header and first proposal. Lazily, the protocol's own bytes may follow at
    once; a refusal is then final, because those bytes were for that protocol. After `receive`, check `chosen`
    and `refused`; `rest` has the bytes after the echo.
    """

    __slots__ = ("_at", "_lazy", "_protocols", "_reader", "chosen", "refused")

    def __init__(self, protocols: Sequence[str], *, lazy: bool = False) -> None:
        if not protocols:
            raise CallerFault("protocols", "is empty")
        self._protocols = protocols
        self._lazy = lazy
        self._at = 0
        self._reader = TokenReader()
        self.chosen: str | None = None
        self.refused = False

    @property
    def proposal(self) -> str:
        """The current proposal."""
        return self._protocols[self._at]

    @property
    def rest(self) -> bytes:
        """Bytes after the negotiation."""
        return self._reader.buffer

    def opening(self) -> bytes:
        """Header and first proposal, in one write."""
        return HEADER + encode_token(self._protocols[0])

    def receive(self, data: bytes) -> bytes:
        """Returns the next proposal, if one is due; raises PeerFault if the answer is invalid."""
        self._reader.feed(data)
        self._reader.take_header()
        reply = b""
        while self.chosen is None and not self.refused and (token := self._reader.next_token()) is not None:
            if token == self.proposal.encode():
                self.chosen = self.proposal
            elif token == b"na":
                reply += self._next_proposal()
            else:
                raise PeerFault("answer is neither an echo nor a refusal", protocol=_PROTOCOL)
        return reply

    def _next_proposal(self) -> bytes:
        if self._lazy or self._at + 1 == len(self._protocols):
            self.refused = True
            return b""
        self._at += 1
        return encode_token(self.proposal)
