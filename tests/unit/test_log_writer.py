"""Log lines through a pipe that nobody reads, and through one that is read again."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from fastmarket.log_writer import LineStream, LogWriter, dropped_lines

LINE = "x" * 1000
DEADLINE_S = 10.0


class Pipe:
    """Both ends, and a writer to it."""

    def __init__(self, max_lines: int = 50, max_bytes: int = 1 << 20) -> None:
        self.read_end, self.write_end = os.pipe()
        self.writer = LogWriter(self.write_end, max_lines, max_bytes)

    def fill(self) -> int:
        """Logs until lines are dropped; how many were logged."""
        count = 0
        while not self.writer.dropped:
            self.log(f"{count} {LINE}")
            count += 1
        return count

    def log(self, text: str) -> None:
        self.writer.handle(logging.makeLogRecord({"msg": text}))

    def read(self, until: str) -> list[str]:
        """Lines, up to one that ends so."""
        raw = b""
        while not raw.endswith(f"{until}\n".encode()):
            raw += os.read(self.read_end, 1 << 16)
        return raw.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.writer.flush(0.0)
    made.writer.close()
    os.close(made.read_end)
    os.close(made.write_end)


def test_lines_come_in_order_and_flush_waits_for_them(pipe: Pipe) -> None:
    for number in range(20):
        pipe.log(f"{number}")
    pipe.writer.flush(DEADLINE_S)
    assert os.read(pipe.read_end, 1 << 16).decode().split() == [f"{number}" for number in range(20)]


def test_nobody_waits_for_a_reader_and_the_gap_is_told(pipe: Pipe) -> None:
    count = pipe.fill()
    for _ in range(9):
        pipe.log("dropped")
    assert pipe.writer.dropped == 10
    pipe.writer.flush(0.0)  # nor does the end
    lines = pipe.read("10 log lines dropped: the log was not being read")
    assert lines[:-1] == [f"{number} {LINE}" for number in range(count - 1)]
    pipe.log("again")
    assert pipe.read("again") == ["again"]
    pipe.writer.flush(DEADLINE_S)
    assert pipe.writer.dropped == 10


def test_bytes_are_bounded_beside_lines() -> None:
    made = Pipe(max_lines=1 << 30, max_bytes=100_000)
    assert made.fill() < 500
    os.close(made.read_end)  # now nobody will ever read
    made.writer.flush(DEADLINE_S)
    made.log("more")
    made.writer.flush(DEADLINE_S)
    assert made.writer.dropped > 100
    made.writer.close()
    os.close(made.write_end)


def test_a_pipe_that_others_made_non_blocking() -> None:
    made = Pipe(max_lines=10_000)
    fcntl.fcntl(made.write_end, fcntl.F_SETFL, fcntl.fcntl(made.write_end, fcntl.F_GETFL) | os.O_NONBLOCK)
    for number in range(500):
        made.log(f"{number} {LINE}")
    assert len(made.read(f"499 {LINE}")) == 500
    assert made.writer.dropped == 0
    made.writer.close()


def test_many_threads_lose_nothing(pipe: Pipe) -> None:
    counted = Pipe(max_lines=10_000)

    def work(name: int) -> None:
        for number in range(100):
            counted.log(f"{name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted.log("end")
    lines = counted.read("end")[:-1]
    for name in range(8):
        own = [line for line in lines if line.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(100)]


def test_the_last_words_are_written(pipe: Pipe) -> None:
    pipe.log("before")
    pipe.writer.close()
    pipe.log("after")
    assert os.read(pipe.read_end, 100) == b"before\nafter\n"


def test_what_is_printed_joins_the_lines(pipe: Pipe) -> None:
    stream = LineStream(sys.stderr, pipe.writer.put)
    pipe.log("logged")
    print("printed", "twice", file=stream)  # type: ignore[call-overload]
    stream.write("begun ")
    stream.write("ended\nnot ended")
    pipe.writer.flush(DEADLINE_S)
    assert os.read(pipe.read_end, 100) == b"logged\nprinted twice\nbegun ended\n"
    assert stream.fileno() == sys.stderr.fileno()  # type: ignore[operator]


def test_a_line_that_cannot_be_formatted_or_encoded(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    pipe.writer.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    pipe.log("surrogate \ud800")
    pipe.writer.flush(DEADLINE_S)
    assert os.read(pipe.read_end, 100) == b"surrogate \\ud800\n"


def test_dropped_lines_of_the_process(pipe: Pipe) -> None:
    assert dropped_lines() == 0
    logging.getLogger().addHandler(pipe.writer)
    try:
        pipe.fill()
        assert dropped_lines() == 1
    finally:
        logging.getLogger().removeHandler(pipe.writer)
