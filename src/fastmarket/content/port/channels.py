"""A connection's socket, in plain text or under TLS, without waiting for anything."""

from __future__ import annotations

import fcntl
import os
import socket
import ssl
import sys
import termios
from contextlib import suppress
from typing import Protocol

from fastmarket.content.place import FileMoved
from fastmarket.content.port.bounds import GATHER_BYTES, RECV_BYTES
from fastmarket.content.port.cold import check_in_memory
from fastmarket.content.port.pieces import FileSlice, read_slice

# Linux: what follows comes at once, and goes into the same packet.
_MORE = getattr(socket, "MSG_MORE", 0)
MAX_CIPHERED_BYTES = 64 * 1024  # read from a file and enciphered for one call of the system
_RECORD_BYTES = 16 * 1024  # the largest of TLS


class Channel(Protocol):
    """All raise OSError (ssl.SSLError is one) when the connection is broken."""

    @property
    def is_ready(self) -> bool:
        """Whether the handshake is over."""

    @property
    def protocol(self) -> str:
        """What was agreed by ALPN; empty if nothing was."""

    @property
    def has_unsent(self) -> bool:
        """Whether accepted bytes are still here."""

    def recv(self) -> bytes | None:
        """What came; empty: the other side has ended; None: nothing now."""

    def send(self, data: bytes | memoryview, more: bool) -> int:
        """How many bytes were accepted. `more`: others follow at once."""

    def send_slice(self, piece: FileSlice, look: bool) -> int:
        """How many bytes of it were accepted. Raises FileMoved; with `look` SliceCold as well, and then it
        has done nothing."""

    def unread_bytes(self) -> int:
        """Of what was accepted, how much the other side's kernel has not; 0 where ours does not say. (The
        socket is not writable before a third of its buffer is free: of a slow reader that takes minutes.)"""

    def end(self) -> None:
        """Sends the end of the stream."""

    def flush(self) -> bool:
        """Whether everything that was accepted is sent."""


class PlainChannel:
    """TCP. Files go from the page cache to the socket (sendfile)."""

    is_ready = True
    protocol = ""
    has_unsent = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._descriptor = sock.fileno()

    def recv(self) -> bytes | None:
        """See Channel."""
        try:
            return self._sock.recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return None

    def send(self, data: bytes | memoryview, more: bool) -> int:
        """See Channel."""
        try:
            return self._sock.send(data, _MORE if more else 0)
        except (BlockingIOError, InterruptedError):
            return 0

    def send_slice(self, piece: FileSlice, look: bool) -> int:
        """See Channel."""
        file = piece.file
        with file.opened() as descriptor:
            if look:
                check_in_memory(descriptor, piece)
            try:
                sent = os.sendfile(self._descriptor, descriptor, piece.offset, piece.length)
            except (BlockingIOError, InterruptedError):
                return 0
            if not sent or not file.is_unmoved(descriptor):
                raise FileMoved(f"{file.path} changed while it was sent")
        return sent

    def unread_bytes(self) -> int:
        """See Channel."""
        return _unread(self._descriptor)

    def end(self) -> None:
        """See Channel."""
        self._sock.shutdown(socket.SHUT_WR)

    def flush(self) -> bool:
        """See Channel: the kernel has it."""
        return True


class TlsChannel:
    """TLS over TCP. Files are read, and enciphered here."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = b""
        self._has_ended = False
        self.is_ready = False

    @property
    def protocol(self) -> str:
        """See Channel."""
        return self._tls.selected_alpn_protocol() or ""

    @property
    def has_unsent(self) -> bool:
        """See Channel."""
        return bool(self._unsent)

    def recv(self) -> bytes | None:
        """See Channel."""
        try:
            data = self._sock.recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        try:
            return self._read()
        finally:
            self.flush()

    def send(self, data: bytes | memoryview, more: bool) -> int:
        """See Channel. Of what is accepted, at most one call's worth is still here."""
        if not self.flush():
            return 0
        sent = self._tls.write(data[:GATHER_BYTES])
        self.flush()
        return sent

    def send_slice(self, piece: FileSlice, look: bool) -> int:
        """See Channel."""
        if not self.flush():
            return 0
        now = piece._replace(length=min(piece.length, MAX_CIPHERED_BYTES))
        return self.send(read_slice(now, check_in_memory if look else None), True)

    def unread_bytes(self) -> int:
        """See Channel; nearly, as TLS adds a few bytes to each record."""
        return _unread(self._sock.fileno()) + len(self._unsent)

    def end(self) -> None:
        """See Channel."""
        with suppress(ssl.SSLError):  # it waits for the other side's end, and we do not
            self._tls.unwrap()
        if self.flush():
            self._sock.shutdown(socket.SHUT_WR)

    def flush(self) -> bool:
        """See Channel."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        if self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return False
            self._unsent = self._unsent[sent:]
        return not self._unsent

    def _read(self) -> bytes | None:
        parts = []
        try:
            if not self.is_ready:
                self._tls.do_handshake()
                self.is_ready = True
            while not self._has_ended:
                # Each call gives one record; what stays here is not announced by the socket again.
                parts.append(self._tls.read(_RECORD_BYTES))
                self._has_ended = not parts[-1]
        except ssl.SSLWantReadError:
            return b"".join(parts) or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._has_ended = True
        return b"".join(parts)


def _unread(descriptor: int) -> int:
    size = bytearray(4)
    try:
        fcntl.ioctl(descriptor, termios.TIOCOUTQ, size)
    except OSError:
        return 0
    return int.from_bytes(size, sys.byteorder)
