"""Log lines on their way out. Whoever reads them may stand still; the node does not wait for it."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

MAX_QUEUED_LINES = 8192  # a minute of a busy node at level debug
MAX_QUEUED_BYTES = 4 << 20  # of them together
FLUSH_S = 0.5  # an end waits so long for a reader; SIGTERM to exit is promised within 5 s
_FULL_S = 0.1  # from one try to write to a stream that takes nothing, and cannot be waited for, to the next


class LogWriter(logging.Handler):
    """Formats a line where it is logged, and writes it to a file descriptor in a thread of its own.

    What finds no room is counted; a line says so where the gap is.
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
        # Re-entrant: a finalizer that logs may run within.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines, since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits."""
        try:
            self.put(self.format(record))
        except Exception:  # noqa: BLE001 - of logging: a line that cannot be formatted costs nobody more
            self.handleError(record)

    def put(self, line: str) -> None:
        """A line without its end."""
        raw = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._closed and not self._stuck:
            self._write(raw, 1)  # the very last words
            return
        with self._changed:
            if len(self._queue) >= self._max_lines or self._queued_bytes + len(raw) > self._max_bytes:
                self.dropped += 1
                self._untold += 1
                return
            self._queue.append(raw)
            self._queued_bytes += len(raw)
            if self._thread is None:
                # A daemon: one that stands in a write does not keep the process from its end.
                self._thread = threading.Thread(target=self._write_on, name="log writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, within_s: float = FLUSH_S) -> None:
        """Returns when all is written, or nobody reads within that time; it is not waited for twice."""
        end = time.monotonic() + within_s
        with self._changed:
            while (self._queue or self._writing) and not self._stuck:
                left_s = end - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    self._stuck = bool(self._queue or self._writing)

    def close(self) -> None:
        """What is queued is written first."""
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
        text = "%d log lines were dropped: nobody read them"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (untold,), None)
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write(self, raw: bytes, lines: int) -> None:
        rest = memoryview(raw)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._wait()
            except OSError:  # closed, a full disk, a terminal that is gone
                self.dropped += lines
                return

    def _wait(self) -> None:
        """A stream that others have made non-blocking."""
        try:
            select.select([], [self._descriptor], [], _FULL_S)
        except (OSError, ValueError):
            time.sleep(_FULL_S)


class LineStream:
    """Stands in for `sys.stderr`: what programs print there joins the log lines, in their order."""

    def __init__(self, stream: TextIO, put: Callable[[str], None]) -> None:
        self._stream = stream
        self._put = put
        self._begun = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Whole lines go; a begun one waits for its end, or for `flush`."""
        with self._lock:
            *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._put(line)
        return len(text)

    def flush(self) -> None:
        """A begun line stays begun: others would end it."""

    def writable(self) -> bool:
        """As a file."""
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def dropped_lines() -> int:
    """Of this process, since its start; 0 where others write the log."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
