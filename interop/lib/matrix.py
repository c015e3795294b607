"""Runs the cells, a few at a time, and notes what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from lib.cell import Cell, Crew, Wrong
from lib.known import KNOWN
from lib.process import Peer, PeerFailed, Unsupported
from lib.rows import Row


class Verdict(Enum):
    """What became of a cell."""

    OK = "ok"
    FAIL = "FAIL"  # red: somebody here has to do something
    NONE = "-"  # cannot be tried, or fails by the other side's fault


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cell of a table."""

    row: str
    column: str
    verdict: Verdict
    why: str = ""
    seconds: float = 0.0
    log: str = ""  # ends of the peers' stderr


@dataclass(frozen=True, slots=True)
class Available:
    """An implementation that was built and starts."""

    kind: str
    implementation: str
    version: str
    can: frozenset[str]


async def probe(kind: str, logs: Path) -> Available:
    """Starts one and asks nothing. Raises PeerFailed, OSError."""
    async with Crew(logs / "probe") as crew:
        peer = await crew.start(kind)
        return Available(kind, peer.implementation, peer.version, peer.can)


def column_of(kind: str, we_dial: bool) -> str:
    """Its heading."""
    return f"to {kind}" if we_dial else f"from {kind}"


async def run_matrix(
    rows: Sequence[Row], others: Sequence[Available], logs: Path, jobs: int, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """All rows against all others, both ways; `done` is told as they end. Long ones begin first."""
    places = asyncio.Semaphore(jobs)

    async def one(row: Row, other: Available, we_dial: bool) -> Outcome:
        name = column_of(other.kind, we_dial)
        if row.waits:  # it only waits, so it takes no place from those that work
            outcome = await run_cell(row, other, we_dial, logs / f"{row.name} {name}")
        else:
            async with places:
                outcome = await run_cell(row, other, we_dial, logs / f"{row.name} {name}")
        done(outcome)
        return outcome

    ordered = sorted(rows, key=lambda row: not row.waits)
    return await asyncio.gather(
        *(one(row, other, we_dial) for row in ordered for other in others for we_dial in (True, False))
    )


# More red cells than this have one cause, and are believed at once.
MAX_SECOND_TRIES = 4


async def try_again(
    rows: Sequence[Row],
    others: Sequence[Available],
    outcomes: Sequence[Outcome],
    logs: Path,
    done: Callable[[Outcome], None],
) -> list[Outcome]:
    """The outcomes, with each red cell tried once more by itself: most of these peers are not ours, and two
    cores under load are not always in time. What passes then says so in its note."""
    red = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAIL]
    if len(red) > MAX_SECOND_TRIES:
        return list(outcomes)
    by_name = {row.name: row for row in rows}
    columns = {column_of(o.kind, we_dial): (o, we_dial) for o in others for we_dial in (True, False)}
    second: dict[tuple[str, str], Outcome] = {}
    for first in red:
        other, we_dial = columns[first.column]
        again = await run_cell(
            by_name[first.row], other, we_dial, logs / f"{first.row} {first.column}, again"
        )
        why = f"at the second try; the first: {first.why}" if again.verdict is Verdict.OK else again.why
        second[first.row, first.column] = replace(again, why=why)
        done(second[first.row, first.column])
    return [second.get((outcome.row, outcome.column), outcome) for outcome in outcomes]


async def run_cell(row: Row, other: Available, we_dial: bool, logs: Path) -> Outcome:
    """One test with fresh peers."""
    outcome = await attempt(
        row.name,
        column_of(other.kind, we_dial),
        row.limit_s,
        logs,
        lambda crew: row.run(Cell(other.kind, we_dial, crew, other.can)),
    )
    known = [entry for entry in KNOWN if entry.covers(row.name, other.kind, we_dial)]
    if not known:
        return outcome
    if outcome.verdict is Verdict.OK:
        return Outcome(
            outcome.row, outcome.column, Verdict.OK, f"works, though: {known[0].why}", outcome.seconds
        )
    why = f"{known[0].why} [{outcome.why}]"
    return Outcome(outcome.row, outcome.column, Verdict.NONE, why, outcome.seconds, outcome.log)


async def attempt(
    row: str, column: str, limit_s: float, logs: Path, test: Callable[[Crew], Awaitable[None]]
) -> Outcome:
    """Runs a test within its time; what it raises becomes the verdict, and its peers are gone afterwards."""
    began = time.monotonic()
    verdict, why = Verdict.FAIL, ""
    async with Crew(logs) as crew:
        try:
            async with asyncio.timeout(limit_s):
                await test(crew)
            verdict = Verdict.OK
        except Unsupported as reason:
            verdict, why = Verdict.NONE, str(reason)
        except TimeoutError:
            why = f"not over within {limit_s:g} s"
        except (Wrong, PeerFailed) as fault:
            why = str(fault)
        except Exception as fault:  # noqa: BLE001 - a mistake in one row must not end the others
            why = f"{type(fault).__name__}: {fault}"
        log = "" if verdict is Verdict.OK else _tails(crew.peers)
    return Outcome(row, column, verdict, " ".join(why.split()), time.monotonic() - began, log)


def _tails(peers: Sequence[Peer]) -> str:
    return "\n".join(f"[{peer.name}] {tail}" for peer in peers if (tail := peer.log_tail()))
