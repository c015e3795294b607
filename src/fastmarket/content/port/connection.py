"""One connection of the content port: its socket, its protocol, and what it is given time for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from fastmarket.content.place import FileMoved
from fastmarket.content.port.bounds import CONNECTION_BYTES, GATHER_BYTES, LINGER_BYTES, LINGER_S
from fastmarket.content.port.channels import Channel
from fastmarket.content.port.cold import SliceCold
from fastmarket.content.port.http1 import Http1Speaker
from fastmarket.content.port.pieces import AnswerCut, FileSlice, covers, rest_of
from fastmarket.content.port.shell import PortShell
from fastmarket.content.port.speaker import Speaker

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is unsent is dropped, and the other side told so
_MAX_STEPS = 256  # empty pieces in a row; then others have their turn


class _Stop(Enum):
    """Why a turn of sending ended."""

    BLOCKED = 1  # the socket takes no more
    SPENT = 2  # the share is used up
    DRAINED = 3  # nothing is left to send
    COLD = 4  # what comes next is read from the disk first


class PortConnection:
    """Reads while its protocol wants, sends in turns, and knows what is overdue."""

    def __init__(self, shell: PortShell, sock: socket.socket, channel: Channel, address: str) -> None:
        self.address = address
        self._shell = shell
        self._sock = sock
        self._descriptor = sock.fileno()
        self._channel = channel
        self._turned_away = False
        self._speaker: Speaker | None = None
        self._reading = self._writing = False
        self._bytes: bytes | memoryview = b""  # to be sent, before the slice
        self._slice: FileSlice | None = None
        self._cold: FileSlice | None = None  # what was to be sent last
        self._was_read: FileSlice | None = None  # from the disk last
        self._is_reading = False
        self._request_since: float | None = shell.now()  # what is not here in time is given up
        self._busy_since: float | None = None
        self._idle_since = shell.now()
        self._answered = self._sent = 0
        self._watched_since: float | None = None  # whether the other side reads
        self._watched_read = 0  # what it had read then
        self._linger_until: float | None = None
        self._dropped_bytes = 0
        self._has_input_ended = False
        self.is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._speaker is not None and (self._speaker.is_busy or bool(self._bytes))

    @property
    def held_bytes(self) -> int:
        """Bytes held for it."""
        return CONNECTION_BYTES + len(self._bytes)

    @property
    def was_served(self) -> bool:
        """Whether a request was answered."""
        return self._speaker is not None and self._speaker.answered > 0

    def start(self, turned_away: bool) -> None:
        """Begins to read. `turned_away`: only to say that there are too many."""
        self._turned_away = turned_away
        self._read_on()

    def make_room(self) -> None:
        """Closes at once, for another connection."""
        self._shell.tally.turned_away += 1
        self.abort()

    def take_turn(self, share: int) -> None:
        """Sends up to so many bytes."""
        self._guarded(self._send, share)

    def finish(self) -> None:
        """Ends after what is under way."""
        self._guarded(self._finish)

    def end_now(self) -> None:
        """Ends, whatever is under way."""
        if self.is_busy:
            self.abort()
        else:
            self.close()

    def abort(self) -> None:
        """Ends at once; the other side sees that something is missing."""
        if not self.is_closed:
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def close(self) -> None:
        """Lets go of everything."""
        if self.is_closed:
            return
        self.is_closed = True
        self._read_no_more()
        self._write_no_more()
        self._sock.close()
        unsent = len(self._bytes) + (0 if self._slice is None else self._slice.length)
        self._slice, self._bytes = None, b""
        shell = self._shell
        shell.budget.forget(self)
        shell.entrance.leave(self)
        shell.connections.discard(self)
        shell.note_end()
        shell.tally.open_connections -= 1
        if self._speaker is not None:
            self._speaker.drop(unsent)

    def look(self, now: float) -> None:
        """Ends what is overdue."""
        self._guarded(self._look, now)

    # --- the loop's

    def _on_readable(self) -> None:
        self._guarded(self._read)

    def _on_writable(self) -> None:
        self._guarded(self._ask_and_send)

    def _on_ready(self) -> None:
        if not self._has_turn:  # a request that was held may be answered
            self._guarded(self._ask_and_send)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        if self.is_closed:
            return
        try:
            work(*args)
        except OSError:
            self.end_now()  # the other side is gone, or spoke no TLS, or a disk failed
        except (AnswerCut, FileMoved):
            self.abort()
        except Exception as error:  # noqa: BLE001 - costs this connection alone
            self._shell.faults.tell("a connection of the content port", error)
            self.abort()

    @property
    def _has_turn(self) -> bool:
        """Whether it will go on sending by itself."""
        return self._writing or self._is_reading or self._shell.budget.is_waiting(self)

    # --- reading

    def _read(self) -> None:
        data = self._channel.recv()
        if self._linger_until is not None:
            self._drop(data)
            return
        if data is None:
            if self._channel.has_unsent:  # of a handshake
                self._write_on()
            return
        speaker = self._speaker
        if speaker is None:
            speaker = self._speaker = self._spoken()
        if data:
            speaker.receive(data)
        else:
            self._has_input_ended = True
            self._read_no_more()
            speaker.receive_end()
        self._note_request()
        if not self._has_turn:
            self._ask_and_send()
        elif not speaker.wants_input:
            self._read_no_more()

    def _spoken(self) -> Speaker:
        shell = self._shell
        most, away = shell.config.max_header_bytes, self._turned_away
        if self._channel.protocol != "h2":
            return Http1Speaker(shell.desk, most, address=self.address, wake=self._on_ready, turned_away=away)
        from fastmarket.content.port.http2 import Http2Speaker  # h2 takes 40 ms to import

        return Http2Speaker(shell.desk, most, address=self.address, wake=self._on_ready, turned_away=away)

    def _note_request(self) -> None:
        speaker = self._speaker
        assert speaker is not None
        if not speaker.in_request and (speaker.is_busy or speaker.answered):
            self._request_since = None
        elif self._request_since is None:
            self._request_since = self._shell.now()

    def _drop(self, data: bytes | None) -> None:
        self._dropped_bytes += len(data or b"")
        if data == b"" or self._dropped_bytes > LINGER_BYTES:
            self.close()

    # --- sending

    def _ask_and_send(self) -> None:
        share = self._shell.ask(self)
        if share:
            self._send(share)
        else:
            self._watched_since = None  # it waits for us
            self._write_no_more()

    def _send(self, share: int) -> None:
        sent, stop = 0, _Stop.SPENT
        try:
            if not self._channel.flush():
                stop, share = _Stop.BLOCKED, 0
            while sent < share:
                if self._bytes:
                    count = self._channel.send(self._bytes, self._slice is not None)
                    self._bytes = self._bytes[count:]
                elif self._slice is not None:
                    count = self._send_slice(self._slice, share - sent)
                elif (gathered := self._gather()) is not None:
                    stop = gathered
                    break
                else:
                    continue
                if not count:
                    stop = _Stop.BLOCKED
                    break
                sent += count
        except SliceCold:
            stop = _Stop.COLD
        finally:
            self._sent += sent
            self._shell.budget.spend(sent)
            self._shell.tally.bytes_sent += sent
        self._after(stop)

    def _send_slice(self, piece: FileSlice, most: int) -> int:
        file, offset, length = piece
        now = piece if length <= most else FileSlice(file, offset, most)
        self._cold = now
        count = self._channel.send_slice(now, not covers(self._was_read, now))
        self._was_read = rest_of(self._was_read, offset + count)
        if count:
            self._shell.tally.add_sent(file.path, count)
            self._slice = FileSlice(file, offset + count, length - count) if count < length else None
        return count

    def _gather(self) -> _Stop | None:
        """Fetches what comes next; else says why there is nothing."""
        speaker = self._speaker
        if speaker is None:
            return _Stop.DRAINED
        parts, size, stop = list[bytes](), 0, _Stop.SPENT
        for _ in range(_MAX_STEPS):
            piece = speaker.next_piece()
            if piece is None:
                stop = _Stop.DRAINED
                break
            if isinstance(piece, FileSlice):
                self._slice = piece
                break
            parts.append(piece)
            size += len(piece)
            if size >= GATHER_BYTES:
                break
        self._bytes = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(self._bytes) > GATHER_BYTES:
            self._bytes = memoryview(self._bytes)  # what is left of it is not copied
        return stop if not size and self._slice is None else None

    def _after(self, stop: _Stop) -> None:
        """What the connection waits for now."""
        speaker = self._speaker
        self._note_progress()
        cold = self._cold if stop is _Stop.COLD else None
        if speaker is not None and speaker.cold is not None:
            cold = speaker.cold
        if cold is not None:
            self._read_first(cold)
        elif stop is not _Stop.DRAINED or self._channel.has_unsent:
            self._write_on()
        elif speaker is not None and speaker.is_closing:
            self._end()
            return
        else:
            self._write_no_more()
        if not self._has_input_ended and (speaker is None or speaker.wants_input):
            self._read_on()
        else:
            self._read_no_more()

    def _read_first(self, piece: FileSlice) -> None:
        """Goes on when it is in memory."""
        self._watched_since = None  # the other side waits for us
        self._write_no_more()
        self._was_read = piece
        self._is_reading = True
        self._shell.readers.read(piece, self._on_read)

    def _on_read(self) -> None:
        self._is_reading = False
        if self._speaker is not None:
            self._speaker.note_read()
        self._guarded(self._ask_and_send)

    def _note_progress(self) -> None:
        speaker, now = self._speaker, self._shell.now()
        if speaker is None or not self.is_busy:
            self._busy_since = self._watched_since = None
            self._idle_since = now
            return
        if self._busy_since is None or speaker.answered != self._answered:
            self._answered = speaker.answered
            self._busy_since = now
        if self._watched_since is None:
            self._watch(now)

    def _watch(self, now: float) -> None:
        self._watched_since, self._watched_read = now, self._sent - self._channel.unread_bytes()

    def _finish(self) -> None:
        if self._speaker is None:
            self.close()
            return
        self._speaker.finish()
        if not self._has_turn:
            self._ask_and_send()

    def _end(self) -> None:
        """Everything is sent. The socket stays for a moment: what still comes must not destroy it unread."""
        self._write_no_more()
        if self._has_input_ended:
            self.close()
            return
        self._channel.end()
        self._linger_until = self._shell.now() + LINGER_S
        self._shell.note_end()
        self._read_on()

    # --- time

    def _look(self, now: float) -> None:
        config = self._shell.config
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.close()
        elif self.is_busy:
            self._look_at_answer(now)
        elif self._request_since is not None:
            if now - self._request_since > config.request_timeout_s:
                self.abort()
        elif now - self._idle_since > config.keep_alive_s:
            self._finish()

    def _look_at_answer(self, now: float) -> None:
        config = self._shell.config
        if self._busy_since is not None and now - self._busy_since > config.answer_timeout_s:
            self.abort()
        elif self._watched_since is not None:
            waited = now - self._watched_since
            if waited <= config.unread_timeout_s:
                return
            read = self._sent - self._channel.unread_bytes() - self._watched_read
            if read < waited * config.min_rate_bytes:
                self.abort()
            else:
                self._watch(now)

    # --- the loop

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._shell.loop.add_reader(self._descriptor, self._on_readable)

    def _read_no_more(self) -> None:
        if self._reading:
            self._reading = False
            self._shell.loop.remove_reader(self._descriptor)

    def _write_on(self) -> None:
        if not self._writing:
            self._writing = True
            self._shell.loop.add_writer(self._descriptor, self._on_writable)

    def _write_no_more(self) -> None:
        if self._writing:
            self._writing = False
            self._shell.loop.remove_writer(self._descriptor)
