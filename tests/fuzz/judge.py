"""Judges what an entry does with one input: how it ends, what CPU time and memory it takes."""

from __future__ import annotations

import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from tests.fuzz.target import Target

MEMORY_FACTOR: Final = 20
"""Bytes at most for each byte of an input, beside `Target.spare_bytes`."""
CONFIRMATIONS: Final = 3  # runs that all must be slow: a collection of garbage is not the input's fault
HANG_TICK_S: Final = 2.0  # CPU; an input that sees two ticks hangs
SOURCES: Final = "fastmarket"


class Kind(Enum):
    """How a check ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # by one of the target's faults
    RAISED = "raised"  # by anything else: a finding, like all below
    SLOW = "slow"
    LARGE = "large"
    HANGS = "hangs"
    DIED = "died"  # and the process with it


class Hangs(BaseException):
    """Raised into a check that does not end; not an `Exception`, so that no handler keeps it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How one check ended."""

    kind: Kind
    what: str
    """Name of the fault's class; for findings one line that tells this finding from others."""
    mark: int
    """A number for the way it went: inputs with new ones are worth keeping."""
    cpu_s: float
    culprit: bytes | None = None
    """The input at fault, if that is an earlier one."""


class _Pulse:
    """Counts what has been done: a check during which it stands still hangs."""

    count = 0


def alive() -> None:
    """Tells `watching` that this is no hang. For what takes long for good reasons."""
    _Pulse.count += 1


def judge(target: Target, data: bytes) -> Ending:
    """Feeds one input, and sees how it ends and what it leaves; time is confirmed only by `is_slow`."""
    alive()
    ending = _checked(target, data)
    if target.after is None or ending.kind is Kind.HANGS:
        return ending
    try:
        target.after(data)
    except Hangs:
        return Ending(Kind.HANGS, "what follows does not end", 0, ending.cpu_s)
    except Exception as error:  # noqa: BLE001 - what is looked for
        mark, culprit = way(error.__traceback__), getattr(error, "culprit", None)
        return Ending(Kind.RAISED, describe(error), mark, ending.cpu_s, culprit)
    return ending


def _checked(target: Target, data: bytes) -> Ending:
    began = time.thread_time()
    try:
        result = target.check(data)
    except target.faults as error:
        spent = time.thread_time() - began
        return Ending(Kind.REFUSED, type(error).__name__, way(error.__traceback__), spent)
    except Hangs:
        return Ending(Kind.HANGS, "does not end", 0, time.thread_time() - began)
    except Exception as error:  # noqa: BLE001 - what is looked for
        spent = time.thread_time() - began
        return Ending(Kind.RAISED, describe(error), way(error.__traceback__), spent)
    return Ending(Kind.ACCEPTED, "", size_mark(result), time.thread_time() - began)


def way(trace: TracebackType | None) -> int:
    """The lines that an exception came through."""
    mark = 1
    while trace is not None:
        mark = hash((mark, trace.tb_lineno, trace.tb_frame.f_code.co_firstlineno))
        trace = trace.tb_next
    return mark


def size_mark(result: object) -> int:
    """Type and order of magnitude of what a check returned."""
    size = len(result).bit_length() if isinstance(result, (bytes, str, list, tuple, dict)) else 0
    return hash((type(result).__name__, size))


def describe(error: BaseException) -> str:
    """Class, message without its figures, and the last line of the package or of the check."""
    text = "".join("#" if char.isdigit() else char for char in str(error)[:90])
    last, trace = None, error.__traceback__
    while trace is not None:
        name = Path(trace.tb_frame.f_code.co_filename)
        if SOURCES in name.parts or last is None or SOURCES not in last[0].parts:
            last = name, trace.tb_lineno
        trace = trace.tb_next
    place = f"{last[0].name}:{last[1]}" if last else "?"
    return f"{type(error).__name__} at {place}: {text}"


def is_slow(target: Target, data: bytes) -> bool:
    """Whether an input takes too much CPU time each time, by a check that is new each time."""
    return all(_fresh(target, data).cpu_s > target.max_cpu_s for _ in range(CONFIRMATIONS))


def taken_bytes(target: Target, data: bytes) -> int:
    """The memory at the height of a check, as Python's allocators see it, beyond what was taken before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        _checked(target, data)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def is_large(target: Target, data: bytes) -> bool:
    """Whether an input takes too much memory, and does so again."""
    bound = MEMORY_FACTOR * len(data) + target.spare_bytes
    return taken_bytes(target, data) > bound and taken_bytes(target, data) > bound


def _fresh(target: Target, data: bytes) -> Ending:
    if target.reset is not None:
        target.reset()
    return judge(target, data)


@contextmanager
def watching() -> Iterator[None]:
    """Raises `Hangs` in a check that sees two ticks of CPU time. In the main thread, and only in Python: the
    parent process ends a kernel that hangs."""
    seen = -1

    def tick(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if _Pulse.count == seen:
            raise Hangs
        seen = _Pulse.count

    before = signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, HANG_TICK_S, HANG_TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
