"""What a fetch wants done, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.errors import FastmarketError
from fastmarket.exchange.fetching.holder import HolderEnd, HolderTally
from fastmarket.formats.cid import Cid

# --- actions


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a holder for a block; exactly one of `handle_block`, `handle_missing` and `handle_failure` comes
    for `request`, unless it is dropped.

    `cid`: binary, as it stands in the link. `most_bytes`: a longer answer is AskFailure.OVERSIZED, and need
    not be read. `file_bytes`: that the block has, as far as is known. `deadline`: when the fetch gives up by
    itself and emits `Drop`; the driver needs no timer.
    """

    request: int
    holder: int
    cid: bytes
    deadline: float
    most_bytes: int
    file_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a request: cancel it, or ignore its answer. Its answer may have been passed on before this
    action was taken; one that comes later may be passed on, too."""

    request: int
    holder: int


@dataclass(frozen=True, slots=True)
class Write:
    """Write verified bytes at `offset` of the file; `handle_written(leaf, ...)` comes once, later.

    `data` is bytes, or a view of the block that was given to `handle_block`. With `in_order`, writes come in
    order of offset without gaps, and `handle_written` means that the reader has taken them.
    """

    leaf: int
    offset: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class ReadKept:
    """Read bytes that an earlier run is said to have written, or this one has; `handle_kept(leaf, ...)` comes
    once, later."""

    leaf: int
    offset: int
    length: int


FetchAction: TypeAlias = Ask | Drop | Write | ReadKept

# --- events


@dataclass(frozen=True, slots=True)
class Planned:
    """The root of the file is here: its size is known, as its root promises it.

    `cid`: of the file, below the path. `file_bytes`: of the whole file; `first` and `end`: the bytes that are
    wanted, end exclusive. `most_cost`: what they cost if all come from the dearest holder known now;
    `least_cost`: from the cheapest.
    """

    cid: Cid
    file_bytes: int
    first: int
    end: int
    least_cost: int
    most_cost: int


@dataclass(frozen=True, slots=True)
class Verified:
    """File bytes whose hash was checked, and by whom they came. `holder` is None if they were kept from an
    earlier run or are a copy of a block fetched before."""

    offset: int
    length: int
    holder: int | None


@dataclass(frozen=True, slots=True)
class HolderEnded:
    """A holder is no longer asked for this content; its requests were dropped. `detail`: for people; may be
    empty."""

    holder: int
    reason: HolderEnd
    detail: str


@dataclass(frozen=True, slots=True)
class HoldersWanted:
    """No holder known can serve what is missing: add one, or call `no_more_holders`. Comes again after each
    holder that was added in vain."""

    missing: int


@dataclass(frozen=True, slots=True)
class FetchFinished:
    """All bytes wanted are written. `kept_bytes`: of them, those that an earlier run had written;
    `fetched_bytes`: those that came from holders; the others are copies. `cost`: the sum of the holders'
    costs."""

    file_bytes: int
    kept_bytes: int
    fetched_bytes: int
    cost: int
    holders: tuple[HolderTally, ...]


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """The fetch ended without the whole; what is written stays good.

    `fault` says why, for callers (`faults`): NoHolderServes, BadContent, CallerFault (`most_bytes`,
    `max_cost`, `path`, `span`), NodeFault of a write.
    """

    fault: FastmarketError
    cost: int
    holders: tuple[HolderTally, ...]


FetchEvent: TypeAlias = Planned | Verified | HolderEnded | HoldersWanted | FetchFinished | FetchFailed
