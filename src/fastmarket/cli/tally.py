"""Progress and outcome of a run over a tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastmarket.cli.render import clean, size_text
from fastmarket.cli.walking import Troubles, files_under, path_text
from fastmarket.errors import NetworkFault, NodeFault
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.cli.context import Context


@dataclass(slots=True)
class Tally:
    """Counts so far. Each fault is `path: reason`."""

    registered: int = 0
    skipped: int = 0
    withdrawn: int = 0
    size: int = 0  # bytes of the files registered
    directories: list[str] = field(default_factory=list)  # that could not be listed
    files: list[str] = field(default_factory=list)  # that could not be registered
    offers: list[str] = field(default_factory=list)  # that could not be withdrawn
    left_out: list[str] = field(default_factory=list)  # links to directories

    def begin(self) -> None:
        """Resets for another attempt; what was registered or withdrawn stays counted."""
        self.skipped = 0
        for faults in (self.directories, self.files, self.offers, self.left_out):
            faults.clear()

    def directory(self, path: str, reason: str) -> None:
        """Adds a directory that could not be listed."""
        self.directories.append(f"{path_text(path)}: {reason}")

    def file(self, path: str, reason: str) -> None:
        """Adds a file that could not be registered."""
        self.files.append(f"{path_text(path)}: {reason}")

    def offer(self, content: str, reason: str) -> None:
        """Adds an offer that could not be withdrawn."""
        self.offers.append(f"{content}: {reason}")

    @property
    def faults(self) -> list[str]:
        """All faults."""
        return [*self.directories, *self.files, *self.offers]

    @property
    def begun(self) -> bool:
        """Whether anything was done or seen."""
        return bool(self.seen or self.withdrawn)

    @property
    def seen(self) -> int:
        """Files dealt with, one way or another."""
        return self.registered + self.skipped + len(self.files)

    def summary(self) -> str:
        """The counts in one line."""
        parts = [f"{counted(self.registered, 'file')} ({size_text(self.size)}) registered"]
        if self.skipped:
            parts.append(f"{self.skipped} already registered")
        if self.withdrawn:
            parts.append(f"{counted(self.withdrawn, 'offer')} withdrawn")
        if self.left_out:
            parts.append(f"{counted(len(self.left_out), 'link')} to directories skipped")
        return ", ".join(parts)

    def failures(self) -> str:
        """What failed, as counts; empty if nothing did."""
        parts = []
        if self.directories:
            number = len(self.directories)
            parts.append(f"{'1 directory' if number == 1 else f'{number} directories'} could not be read")
        if self.files:
            parts.append(f"{counted(len(self.files), 'file')} could not be registered")
        if self.offers:
            parts.append(f"{counted(len(self.offers), 'offer')} could not be withdrawn")
        return ", ".join(parts)


def troubles_of(tally: Tally) -> Troubles:
    """Callbacks that record a walk's troubles in `tally`."""
    return Troubles(tally.directory, tally.file, lambda path: tally.left_out.append(path_text(path)))


@contextmanager
def told(desk: Context, tally: Tally, summary: Callable[[Tally], str] = Tally.summary) -> Iterator[None]:
    """Prints the outcome at the end, even after an early one; raises NetworkFault if a part failed."""
    began = time.perf_counter()
    try:
        yield
    except KeyboardInterrupt:
        desk.screen.trouble(f"interrupted; {summary(tally)}. Run the same command to continue.")
        raise
    except (NetworkFault, NodeFault) as fault:
        if tally.begun:
            if desk.as_json:
                desk.screen.json(_as_json(tally, [*tally.faults, str(fault)], began))
            desk.screen.trouble(f"ended early; {summary(tally)}. Run the same command to continue.")
        raise
    if desk.as_json:
        desk.screen.json(_as_json(tally, tally.faults, began))
    else:
        desk.screen.line(f"{summary(tally)} ({time.perf_counter() - began:.1f} s)")
    for trouble in tally.faults:
        desk.screen.trouble(clean(trouble))
    if tally.faults:
        raise NetworkFault(tally.failures())


def _as_json(tally: Tally, faults: list[str], began: float) -> dict[str, object]:
    return {
        "registered": tally.registered,
        "skipped": tally.skipped,
        "withdrawn": tally.withdrawn,
        "failed": len(faults),
        "bytes": tally.size,
        "faults": faults,
        "left_out": tally.left_out,
        "ms": round((time.perf_counter() - began) * 1000, 3),
    }


@contextmanager
def progress(desk: Context, root: str, tally: Tally) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not desk.screen.people or desk.as_json:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    nobody = Troubles(lambda path, reason: None, lambda path, reason: None, lambda path: None)
    total = sum(1 for _ in files_under(root, nobody))
    columns = (
        "[bold]registering",
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>7.0f} files/s"),
        TimeRemainingColumn(),
    )
    began = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("registering", total=total, rate=0.0)

        def report() -> None:
            rate = tally.registered / max(time.perf_counter() - began, 1e-3)
            bar.update(task, completed=tally.seen, rate=rate)

        yield report
