"""Feeds one target, input after input, and gathers what is found."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.fuzz.counts import Counts, Finding
from tests.fuzz.judge import Kind, alive, is_large, is_slow, judge, size_mark, watching, way
from tests.fuzz.mutate import MAX_CORPUS, WORDS, Maker, Mutator, words_of
from tests.fuzz.shrink import MAX_STEPS, shrink
from tests.fuzz.target import Shape, Target, sampling

MEMORY_EVERY: Final = 512  # inputs; one of so many is measured, and each that comes to a new outcome
MAX_FINDINGS: Final = 32  # of a target; more are of the same kinds
MAX_MARKS: Final = 4096  # beyond it, new outcomes are the entry's own figures, not ways through it
MAX_SLOW_STEPS: Final = 60  # of shrinking what takes long, three times each
BATCH: Final = 2000  # inputs fed in C before the clock is looked at
ENTRY_BATCH: Final = 50_000  # likewise, of those fed to the entry alone
LENGTH_BYTES: Final = 4
FRAMINGS: Final = {Shape.VARINT_FRAMES: 1, Shape.NOISE: 2, Shape.YAMUX: 12}
"""As `FastMutator` knows them."""
SHAPES_IN_C: Final = frozenset({Shape.BYTES, Shape.PROTOBUF, *WORDS, *FRAMINGS})


class Last:
    """The latest input, in memory that outlives this process: what killed it."""

    def __init__(self, path: Path | None, longest: int) -> None:
        size = LENGTH_BYTES + longest
        if path is None:
            self.view = memoryview(bytearray(size))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            file.truncate(size)
            self.view = memoryview(mmap.mmap(file.fileno(), size))

    def note(self, data: bytes) -> None:
        """Before it is fed."""
        data = data[: len(self.view) - LENGTH_BYTES]
        self.view[: LENGTH_BYTES + len(data)] = len(data).to_bytes(LENGTH_BYTES, "big") + data

    @staticmethod
    def read(path: Path) -> bytes:
        """What a process that has ended fed last."""
        raw = path.read_bytes()
        return raw[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(raw[:LENGTH_BYTES], "big")]


class Loop:
    """One target under way. `fast`: the compiled `_fast`, or None."""

    def __init__(
        self, target: Target, seed: int, fast: ModuleType | None = None, last: Path | None = None
    ) -> None:
        self.target, self.seed = target, seed
        self.counts = Counts(target.name, target.entry, target.first)
        self._seeds = [bytes(one) for one in target.seeds()]
        self._last = Last(last, max([target.longest, *map(len, self._seeds)]))
        self._mutator: Maker = Mutator(seed, self._seeds, target.shape, target.longest)
        self._marks: set[int] = set()
        self._found: dict[str, Finding] = {}
        self._fast = fast if target.after is None else None  # a network takes longer than all else
        if self._fast is not None and target.shape in SHAPES_IN_C:
            self._mutator = self._fast.FastMutator(
                seed,
                self._seeds,
                is_message=target.shape is Shape.PROTOBUF,
                words=words_of(target.shape),
                longest=target.longest,
                max_kept=MAX_CORPUS,
                framing=FRAMINGS.get(target.shape, 0),
            )

    def run(
        self,
        inputs: int,
        seconds: float = float("inf"),
        corpus: Sequence[bytes] = (),
        *,
        to_first: bool = False,
    ) -> Counts:
        """So many inputs, or as many as the time allows, or until something is found (`to_first`). The seeds
        themselves come first, and `corpus`."""
        counts, end, began = self.counts, time.monotonic() + seconds, time.process_time()
        feed = self._feed_one if self._fast is None else self._feeder(self._fast)
        self._renew()
        with watching():
            for data in [*self._seeds, *corpus][:inputs]:
                self._feed(data)
            while counts.inputs < inputs and time.monotonic() < end:
                if to_first and counts.findings:
                    break
                feed(inputs - counts.inputs)
        counts.seconds = time.process_time() - began
        return counts

    def feed(self, many: Iterable[bytes]) -> Counts:
        """Given inputs: of earlier findings."""
        self._renew()
        with watching():
            for data in many:
                self.feed_one(data)
        return self.counts

    def feed_one(self, data: bytes) -> None:
        """An input of another fuzzer, which notices by itself what hangs."""
        self._feed(data)

    def _feed_one(self, left: int) -> None:
        if self.target.reset is not None and self.counts.inputs % self.target.reset_every == 0:
            self._renew()
        self._feed(self._mutator.next())

    def _feeder(self, fast: ModuleType) -> Callable[[int], None]:
        """Many at a time in C; one that is new, or odd, is fed again here and judged."""
        target, counts, mutator, quick = self.target, self.counts, self._mutator, self.target.quick
        is_fast = isinstance(mutator, fast.FastMutator)
        make = mutator if is_fast else mutator.next
        drive = fast.Drive(
            *(target.check, target.faults, target.max_cpu_s),
            *(self._marks, MAX_MARKS, self._last.view, way, size_mark),
        )
        entry = quick if is_fast else None
        batch = BATCH if entry is None else ENTRY_BATCH

        def feed(left: int) -> None:
            alive()
            sampling.every = entry is not None
            count = min(batch, left)
            odd = drive.run(make, count) if entry is None else drive.run_entry(mutator, entry, count)
            accepted, refused, checked = drive.take()
            counts.accepted += accepted
            counts.refused.update(refused)
            counts.inputs += accepted + sum(refused.values())
            counts.checked += checked
            if odd is not None:
                self._feed(odd)
                self._look_at_entry(odd)
            elif left > batch:
                self._feed(mutator.next(), measured=True)

        return feed

    def _look_at_entry(self, data: bytes) -> None:
        """What the entry alone does, which the check may not show: it may feed it otherwise."""
        if self.target.quick is None:
            return
        alone = replace(self.target, check=self.target.quick)
        ending = judge(alone, data)
        if ending.kind not in (Kind.ACCEPTED, Kind.REFUSED):
            how = ending.kind, ending.what
            self._find(data, *how, lambda less: _ending(alone, less) == how)
        elif ending.cpu_s > alone.max_cpu_s and is_slow(alone, data):
            what = f"over {alone.max_cpu_s * 1e3:.0f} ms, alone"
            self._find(data, Kind.SLOW, what, lambda less: is_slow(alone, less))

    def _feed(self, data: bytes, *, measured: bool = False) -> None:
        target, counts = self.target, self.counts
        self._last.note(data)
        sampling.every = True
        ending = judge(target, data)
        counts.inputs += 1
        counts.checked += 1
        counts.slowest_ms = max(counts.slowest_ms, ending.cpu_s * 1e3)
        if ending.kind is Kind.ACCEPTED:
            counts.accepted += 1
        elif ending.kind is Kind.REFUSED:
            counts.refused[ending.what] += 1
        else:
            how = ending.kind, ending.what
            blamed = data if ending.culprit is None else ending.culprit
            self._find(blamed, *how, lambda less: self._ends(less, how))
            return
        novel = ending.mark not in self._marks and len(self._marks) < MAX_MARKS
        if novel:
            self._marks.add(ending.mark)
            self._mutator.keep(data)
            counts.kept += 1
        if ending.cpu_s > target.max_cpu_s and is_slow(target, data):
            what = f"over {target.max_cpu_s * 1e3:.0f} ms"
            self._find(data, Kind.SLOW, what, lambda less: is_slow(target, less))
        if (novel or measured or counts.inputs % MEMORY_EVERY == 0) and is_large(target, data):
            self._find(data, Kind.LARGE, "more memory than allowed", lambda less: is_large(target, less))

    def _renew(self) -> None:
        if self.target.reset is not None:
            self.target.reset()

    def _ends(self, data: bytes, how: tuple[Kind, str]) -> bool:
        self._renew()
        ending = judge(self.target, data)
        return (ending.kind, ending.what) == how

    def _find(self, data: bytes, kind: Kind, what: str, still: Callable[[bytes], bool]) -> None:
        key = f"{kind.value}: {what}"
        known = self._found.get(key)
        if known is not None:
            known.times += 1
        elif len(self._found) < MAX_FINDINGS:
            steps = MAX_SLOW_STEPS if kind is Kind.SLOW else MAX_STEPS
            short = shrink(data, still, steps) if kind is not Kind.HANGS and still(data) else data
            found = Finding(kind.value, what, short.hex(), self.seed, self.counts.inputs)
            self._found[key] = found
            self.counts.findings.append(found)
        self._renew()


def _ending(target: Target, data: bytes) -> tuple[Kind, str]:
    ending = judge(target, data)
    return ending.kind, ending.what
