"""One process for each target, so that one that dies or hangs in a kernel ends alone, and is told with its
input."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.fuzz.counts import OUT, Counts, Finding
from tests.fuzz.guided import report_of
from tests.fuzz.loop import Last
from tests.fuzz.target import Target

SILENCE_S: Final = 300.0  # a target that feeds nothing for so long hangs where no signal reaches it
POLL_S: Final = 0.2


@dataclass(frozen=True)
class Work:
    """What each target gets."""

    inputs: int
    seconds: float
    seed: int
    guided_s: float = 0.0
    """Of the seconds, those in which coverage guides."""

    def options(self) -> list[str]:
        """For the process."""
        seconds = [] if self.seconds == float("inf") else ["--seconds", str(self.seconds)]
        return ["--inputs", str(self.inputs), "--seed", str(self.seed), *seconds]


class Worker:
    """One target in its process."""

    def __init__(self, target: Target, work: Work) -> None:
        self.target, self._work = target, work
        self.last = OUT / f"{target.name}.last"
        self.result = OUT / f"{target.name}.json"
        self.result.unlink(missing_ok=True)
        self._guided = target.after is None and work.guided_s >= 1
        self._process = self._start()
        self._seen: bytes | None = None
        self._seen_at = self._began = time.monotonic()

    def _start(self) -> subprocess.Popen[bytes]:
        work, python = self._work, [sys.executable, "-m"]
        if self._guided:
            report_of(self.target.name).unlink(missing_ok=True)
            seconds = ["--seconds", str(round(work.guided_s)), "--seed", str(work.seed)]
            return subprocess.Popen([*python, "tests.fuzz.guided", self.target.name, *seconds])
        return subprocess.Popen([*python, "tests.fuzz", "--alone", self.target.name, *work.options()])

    def poll(self) -> Counts | None:
        """The counts, once it has ended."""
        code = self._process.poll()
        if code is None:
            return self._hung() if self._is_silent() else None
        if self._guided and not code:
            self._guided = False
            self._process = self._start()
            return None
        if self.result.exists():
            return self._merged()
        return self._found("died", f"the process ended with status {code}")

    def _merged(self) -> Counts:
        """With what was found under guidance."""
        counts = Counts.from_json(json.loads(self.result.read_text()))
        guided = report_of(self.target.name)
        if guided.exists():
            counts.add(Counts.from_json(json.loads(guided.read_text())))
        return counts

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()

    def _is_silent(self) -> bool:
        now = time.monotonic()
        data = self.last.read_bytes() if self.last.exists() else b""
        if data != self._seen:
            self._seen, self._seen_at = data, now
        return now - self._seen_at > SILENCE_S

    def _hung(self) -> Counts:
        self.stop()
        return self._found("hangs", "does not end, in C")

    def _found(self, kind: str, what: str) -> Counts:
        target = self.target
        counts = Counts(target.name, target.entry, target.first, seconds=time.monotonic() - self._began)
        data = Last.read(self.last) if self.last.exists() else b""
        counts.findings.append(Finding(kind, what, data.hex(), self._work.seed, 0))
        return counts


def run_all(targets: Iterable[Target], work: Work, jobs: int) -> Iterator[Counts]:
    """The counts of each target as it ends; so many at a time."""
    OUT.mkdir(parents=True, exist_ok=True)
    waiting, running = list(targets), list[Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Worker(waiting.pop(0), work))
            for worker in list(running):
                counts = worker.poll()
                if counts is not None:
                    running.remove(worker)
                    yield counts
            time.sleep(POLL_S)
    finally:
        for worker in running:
            worker.stop()
