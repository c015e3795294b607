"""Logging: text for people or JSON for machines, on stderr only (stdout is for `ready`)."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO, cast

from fastmarket.log_writer import FLUSH_S, LineStream, LogWriter

MAX_TEXT_CHARS = 16 * 1024  # of a message, and of its fields

# The standard attributes of a LogRecord; any other was passed as `extra` and is logged as a field.
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}..."


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message field=value`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line (untrusted text cannot start another), then the traceback if there is one."""
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in _cut(record.getMessage()))
        fields = _cut("".join(f" {name}={value!r}" for name, value in _fields(record).items()))
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Values that JSON cannot represent are written as their text."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        for name, value in _fields(record).items():
            entry[name] = _cut(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["exception"] = _cut(self.formatException(record.exc_info))
        return json.dumps(entry, default=str)


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def set_up(level: str, form: str) -> None:
    """Send our logs from `level` up, and those of other libraries from WARNING up, to stderr.

    A thread does the writing, along with everything else printed there, so that a stalled reader blocks
    nothing.
    """
    # gRPC's core logs each probe of its port to stderr; an operator's own GRPC_VERBOSITY takes precedence.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    stderr = sys.stderr
    writer = LogWriter(stderr.fileno())
    writer.setFormatter(FORMATTERS[form]())
    logging.basicConfig(handlers=[writer], level=logging.WARNING, force=True)
    set_level(level)
    logging.captureWarnings(True)
    sys.stderr = cast("TextIO", LineStream(stderr, writer.put if form == "text" else _printed))


def set_level(level: str) -> None:
    """Sets the level of our own logs."""
    logging.getLogger("fastmarket").setLevel(level.upper())


def flush(within_s: float = FLUSH_S) -> None:
    """Returns when everything logged is written, or after `within_s` if stderr is not being read."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogWriter):
            handler.flush(within_s)


def _printed(line: str) -> None:
    """Logs text printed to stderr, such as a complaint at exit or a traceback of Python's own."""
    if line:
        logging.getLogger("stderr").error("%s", line)
