"""Writes log lines. Their reader may stall; the node does not wait for it."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from fastmarket.wording import counted

MAX_QUEUED_LINES = 8192  # a minute of a busy node at level debug
MAX_QUEUED_BYTES = 4 << 20  # their total size
FLUSH_S = 0.5  # time given to the reader at shutdown; SIGTERM to exit is promised within 5 s
_FULL_S = 0.1  # between attempts to write to a full stream that select cannot wait for


class LogWriter(logging.Handler):
    """Formats a line where it is logged, and writes it to a file descriptor in a thread of its own.

    Lines that do not fit the queue are counted, and reported in a line at the gap.
    """

    def __init__(
        self, descriptor: int, max_lines: int = MAX_QUEUED_LINES, max_bytes: int = MAX_QUEUED_BYTES
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._untold = 0
        self._writing = False
        self._closed = False
        self._stuck = False
        # Re-entrant: a finalizer that logs may run while it is held.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines dropped since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a record; never waits."""
        try:
            self.put(self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not affect its caller
            self.handleError(record)

    def put(self, line: str) -> None:
        """Queues a line, given without its line end."""
        raw = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._closed and not self._stuck:
            self._write(raw, 1)  # after closing: write directly
            return
        with self._changed:
            if len(self._queue) >= self._max_lines or self._queued_bytes + len(raw) > self._max_bytes:
                self.dropped += 1
                self._untold += 1
                return
            self._queue.append(raw)
            self._queued_bytes += len(raw)
            if self._thread is None:
                # A daemon thread: blocked in a write, it does not keep the process from exiting.
                self._thread = threading.Thread(target=self._write_on, name="log writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, within_s: float = FLUSH_S) -> None:
        """Returns when all is written, or after that time if the reader stalls; does not wait for it
        twice."""
        end = time.monotonic() + within_s
        with self._changed:
            while (self._queue or self._writing) and not self._stuck:
                left_s = end - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    self._stuck = bool(self._queue or self._writing)

    def close(self) -> None:
        """Writes what is queued first."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    def _write_on(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closed:
                        return
                    self._changed.wait()
                lines, self._queue, self._queued_bytes = self._queue, deque(), 0
                untold, self._untold = self._untold, 0
                self._writing = True
            if untold:
                lines.append(self._gap(untold))
            self._write(b"".join(lines), len(lines))
            with self._changed:
                self._writing = self._stuck = False
                self._changed.notify_all()

    def _gap(self, untold: int) -> bytes:
        text = "%s dropped: the log was not being read"
        dropped = counted(untold, "log line")
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None)
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write(self, raw: bytes, lines: int) -> None:
        rest = memoryview(raw)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._wait()
            except OSError:  # closed, a full disk, a closed terminal
                self.dropped += lines
                return

    def _wait(self) -> None:
        """Waits for a stream that another process has made non-blocking."""
        try:
            select.select([], [self._descriptor], [], _FULL_S)
        except (OSError, ValueError):
            time.sleep(_FULL_S)


class LineStream:
    """Replaces `sys.stderr`: printed text joins the log lines, in order."""

    def __init__(self, stream: TextIO, put: Callable[[str], None]) -> None:
        self._stream = stream
        self._put = put
        self._begun = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Passes on whole lines; an unfinished one waits for its end."""
        with self._lock:
            *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._put(line)
        return len(text)

    def flush(self) -> None:
        """Does nothing: an unfinished line must not be cut."""

    def writable(self) -> bool:
        """As for a file."""
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def dropped_lines() -> int:
    """Lines this process has dropped since its start; 0 if another handler writes the log."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
