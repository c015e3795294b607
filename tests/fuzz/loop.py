"""Feeds one target, input after input, and gathers what is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.fuzz.counts import Counts, Finding
from tests.fuzz.judge import MAX_CPU_S, Kind, is_large, is_slow, judge, watching
from tests.fuzz.mutate import Mutator
from tests.fuzz.shrink import shrink
from tests.fuzz.target import Target

MEMORY_EVERY: Final = 512  # inputs; one of so many is measured, and each that comes to a new outcome
MAX_FINDINGS: Final = 32  # of a target; more are of the same kinds
MAX_MARKS: Final = 4096


class Loop:
    """One target under way."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target, self.seed = target, seed
        self.counts = Counts(target.name, target.entry, target.first)
        self._mutator = Mutator(seed, target.seeds(), target.shape, target.longest)
        self._marks: set[tuple[Kind, int]] = set()
        self._found: dict[str, Finding] = {}

    def run(self, inputs: int, seconds: float = float("inf")) -> Counts:
        """So many inputs, or as many as the time allows. The seeds themselves come first."""
        target, counts = self.target, self.counts
        began = time.monotonic()
        if target.reset is not None:
            target.reset()
        with watching(lambda: counts.inputs):
            for data in target.seeds():
                self._feed(data)
            while counts.inputs < inputs and (counts.inputs & 63 or time.monotonic() - began < seconds):
                if target.reset is not None and counts.inputs % target.reset_every == 0:
                    target.reset()
                self._feed(self._mutator.next())
        counts.seconds = time.monotonic() - began
        return counts

    def _feed(self, data: bytes) -> None:
        target, counts = self.target, self.counts
        ending = judge(target, data)
        counts.inputs += 1
        counts.slowest_ms = max(counts.slowest_ms, ending.cpu_s * 1e3)
        if ending.kind is Kind.ACCEPTED:
            counts.accepted += 1
        elif ending.kind is Kind.REFUSED:
            counts.refused[ending.what] += 1
        else:
            self._find(
                data, ending.kind, ending.what, lambda less: self._ends(less) == (ending.kind, ending.what)
            )
            return
        novel = (ending.kind, ending.mark) not in self._marks and len(self._marks) < MAX_MARKS
        if novel:
            self._marks.add((ending.kind, ending.mark))
            self._mutator.keep(data)
            counts.kept += 1
        if ending.cpu_s > MAX_CPU_S and is_slow(target, data):
            self._find(data, Kind.SLOW, f"over {MAX_CPU_S * 1e3:.0f} ms", lambda less: is_slow(target, less))
        if (novel or counts.inputs % MEMORY_EVERY == 0) and is_large(target, data):
            self._find(data, Kind.LARGE, "more memory than allowed", lambda less: is_large(target, less))

    def _ends(self, data: bytes) -> tuple[Kind, str]:
        if self.target.reset is not None:
            self.target.reset()
        ending = judge(self.target, data)
        return ending.kind, ending.what

    def _find(self, data: bytes, kind: Kind, what: str, still: Callable[[bytes], bool]) -> None:
        key = f"{kind.value}: {what}"
        known = self._found.get(key)
        if known is not None:
            known.times += 1
        elif len(self._found) < MAX_FINDINGS:
            short = shrink(data, still) if kind is not Kind.HANGS and still(data) else data
            found = Finding(kind.value, what, short.hex(), self.seed, self.counts.inputs)
            self._found[key] = found
            self.counts.findings.append(found)
