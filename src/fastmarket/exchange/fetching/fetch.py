"""Fetches one file from several holders: the planner. Sans-IO.

The driver calls `handle_*` as things happen, then takes `poll_actions` and `poll_events`, and arms
`next_timer`. After FetchFinished or FetchFailed nothing more comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import NodeFault
from fastmarket.exchange.fetching.events import FetchAction, FetchEvent
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderTally
from fastmarket.formats.cid import Cid


class Fetch:
    """One fetch of one file, or of a span of it."""

    def __init__(
        self,
        root: Cid,
        config: FetchConfig,
        now: float,
        *,
        path: Sequence[str] = (),
        span: tuple[int, int | None] | None = None,
        in_order: bool = False,
        kept: Iterable[tuple[int, int]] = (),
        max_bytes: int | None = None,
        max_cost: int | None = None,
    ) -> None:
        """`path`: names below `root`, through directories, to the file. `span`: the bytes wanted, (first,
        end), end exclusive, None is the end of the file, a negative `first` counts from there; None: all.

        `in_order`: writes come in order of offset, for a reader. Otherwise in any order, for a file, and what
        was written can be read back (`ReadKept`). `kept`: spans (first, end) of the file that an earlier run
        is said to have written; they are read back and hashed, and what is not right is fetched. Not with
        `in_order`.

        `max_bytes`: refuses a file that promises to have more bytes wanted. `max_cost`: never spends more.
        Raises CallerFault for a wrong argument.
        """
        raise NotImplementedError

    # --- holders

    def add_holder(self, holder: FetchHolder, now: float) -> None:
        """One more that may be asked; holders may come at any time. One that ended is not taken again, except
        after `remove_holder`. Raises CallerFault for a price that is not one."""
        raise NotImplementedError

    def remove_holder(self, key: int, now: float) -> None:
        """It left; its requests are dropped and asked of others."""
        raise NotImplementedError

    def no_more_holders(self, now: float) -> None:
        """No holder will be added: the fetch fails once those that are known cannot serve the rest."""
        raise NotImplementedError

    def holders(self) -> tuple[HolderTally, ...]:
        """What came of each so far, in the order in which they were added."""
        raise NotImplementedError

    # --- answers

    def handle_block(self, request: int, block: bytes, now: float) -> None:
        """The answer to a request. It is hashed here; whatever it is, nothing is raised. Unknown and dropped
        requests are ignored."""
        raise NotImplementedError

    def handle_missing(self, request: int, now: float) -> None:
        """The holder does not have the block: 404, DONT_HAVE."""
        raise NotImplementedError

    def handle_failure(
        self, request: int, kind: AskFailure, now: float, retry_after: float | None = None, detail: str = ""
    ) -> None:
        """Neither. `retry_after`: seconds that the holder asked for. `detail`: for people."""
        raise NotImplementedError

    def handle_written(self, leaf: int, fault: NodeFault | None, now: float) -> None:
        """A `Write` is done; with a fault, the fetch fails with it."""
        raise NotImplementedError

    def handle_kept(self, leaf: int, data: bytes | bytearray | memoryview | None, now: float) -> None:
        """The answer to `ReadKept`; None: it could not be read."""
        raise NotImplementedError

    # --- pace

    def pause(self, now: float) -> None:
        """Asks for nothing more until `resume`; what is under way still comes, and is written."""
        raise NotImplementedError

    def resume(self, now: float) -> None:
        """Goes on."""
        raise NotImplementedError

    def cancel(self, now: float) -> None:
        """Drops everything that is under way; nothing comes after the actions for that."""
        raise NotImplementedError

    # --- the driver's turn

    def handle_timer(self, now: float) -> None:
        """To be called at `next_timer`, or later."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not by itself."""
        raise NotImplementedError

    def poll_actions(self, now: float) -> list[FetchAction]:
        """What to do, in this order; empty: nothing until the next input."""
        raise NotImplementedError

    def poll_events(self) -> list[FetchEvent]:
        """What happened since the last call."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """Whether FetchFinished or FetchFailed was emitted, or `cancel` called."""
        raise NotImplementedError

    @property
    def verified_bytes(self) -> int:
        """File bytes wanted that are verified, kept ones included."""
        raise NotImplementedError

    @property
    def wanted_bytes(self) -> int | None:
        """File bytes wanted; None before Planned."""
        raise NotImplementedError
