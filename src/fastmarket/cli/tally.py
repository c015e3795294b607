"""How a run over a tree went, told while it runs and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastmarket.cli.render import clean, counted, size_text
from fastmarket.cli.walking import Troubles, files_under, path_text
from fastmarket.errors import NetworkFault, NodeFault

if TYPE_CHECKING:
    from fastmarket.cli.context import Context


@dataclass(slots=True)
class Tally:
    """How far it is. Each fault is `path: reason`."""

    registered: int = 0
    skipped: int = 0
    withdrawn: int = 0
    size: int = 0  # bytes of those registered
    directories: list[str] = field(default_factory=list)  # that could not be listed
    files: list[str] = field(default_factory=list)  # that could not be registered
    offers: list[str] = field(default_factory=list)  # that could not be withdrawn
    left_out: list[str] = field(default_factory=list)  # links to directories

    def begin(self) -> None:
        """Once more from the start; what was done stays done."""
        self.skipped = 0
        for faults in (self.directories, self.files, self.offers, self.left_out):
            faults.clear()

    def directory(self, path: str, reason: str) -> None:
        """One more that could not be listed."""
        self.directories.append(f"{path_text(path)}: {reason}")

    def file(self, path: str, reason: str) -> None:
        """One more that could not be registered."""
        self.files.append(f"{path_text(path)}: {reason}")

    def offer(self, content: str, reason: str) -> None:
        """One more that could not be withdrawn."""
        self.offers.append(f"{content}: {reason}")

    @property
    def faults(self) -> list[str]:
        """All of them."""
        return [*self.directories, *self.files, *self.offers]

    @property
    def begun(self) -> bool:
        """Whether anything was done."""
        return bool(self.seen or self.withdrawn)

    @property
    def seen(self) -> int:
        """Files that are done, one way or another."""
        return self.registered + self.skipped + len(self.files)

    def summary(self) -> str:
        """In one line."""
        parts = [f"{counted(self.registered, 'file')} ({size_text(self.size)}) registered"]
        if self.skipped:
            parts.append(f"{self.skipped} were before")
        if self.withdrawn:
            parts.append(f"{counted(self.withdrawn, 'offer')} withdrawn")
        if self.left_out:
            parts.append(f"{counted(len(self.left_out), 'link')} to directories left out")
        return ", ".join(parts)

    def failures(self) -> str:
        """What could not be done, counted; empty: all was."""
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
    """So that a walk tells it."""
    return Troubles(tally.directory, tally.file, lambda path: tally.left_out.append(path_text(path)))


@contextmanager
def told(desk: Context, tally: Tally, summary: Callable[[Tally], str] = Tally.summary) -> Iterator[None]:
    """Says at the end how it went, also where it ends early; raises NetworkFault where a part could not be
    done."""
    began = time.perf_counter()
    try:
        yield
    except KeyboardInterrupt:
        desk.screen.trouble(f"interrupted; {summary(tally)}. The same command goes on from here.")
        raise
    except (NetworkFault, NodeFault) as fault:
        if tally.begun:
            if desk.as_json:
                desk.screen.json(_as_json(tally, [*tally.faults, str(fault)], began))
            desk.screen.trouble(f"ended early; {summary(tally)}. The same command goes on from here.")
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
    """A bar on a terminal; elsewhere nothing."""
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
