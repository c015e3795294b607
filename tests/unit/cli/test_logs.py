"""Log lines: one line each for machines, harmless ones for people."""

from __future__ import annotations

import json
import logging
import sys

from fastmarket.cli.logs import JsonFormatter, TextFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "fastmarket.x", "levelno": 30, "levelname": "WARNING", "msg": message}
    )
    made.created = 1_700_000_000.5
    vars(made).update(extra)
    return made


def failed() -> logging.LogRecord:
    try:
        raise ValueError("why")
    except ValueError:
        return record("it broke", exc_info=sys.exc_info())


def test_text() -> None:
    assert TextFormatter().format(record("dial failed", peer="12D3")) == (
        "2023-11-14T22:13:20.500Z WARNING fastmarket.x: dial failed peer='12D3'"
    )


def test_strangers_cannot_forge_a_line() -> None:
    line = TextFormatter().format(record("agent \n\x1b[2J x"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert r"agent \n\x1b[2J x" in line


def test_text_shows_where_it_broke() -> None:
    first, *trace = TextFormatter().format(failed()).splitlines()
    assert first.endswith("it broke")
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "ValueError: why"


def test_json() -> None:
    line = JsonFormatter().format(record("dial\nfailed", peer=b"\xff"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "logger": "fastmarket.x",
        "message": "dial\nfailed",
        "peer": "b'\\xff'",
    }
    assert "ValueError: why" in json.loads(JsonFormatter().format(failed()))["exception"]
