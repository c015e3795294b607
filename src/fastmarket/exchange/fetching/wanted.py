"""A block that is wanted, who was asked for it, and where wanted blocks come from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.formats.block import RAW_HEAD

MAX_COPIES = 2
"""Requests for one block under way at once; one more while it is late with holders that delivered nothing."""

MAX_INNER_COPIES = 16
"""The same of an inner node, which is small, costs nothing, and holds up everything: one more each 0.1 s, in
the 2 s until the first of them counts as silent."""


class Place(NamedTuple):
    """Where a block stands in the file, as its parent promises: `length` bytes of the file, `depth` links
    below the root. `cid` is empty for the bytes of an inner node itself."""

    cid: bytes
    offset: int
    length: int
    depth: int


class WantedBlock:
    """One block; `places` are those known so far at which the file links it.

    `size`: bytes that are expected of an answer. `file_bytes`: those of them that cost; 0: none, or unknown.
    """

    __slots__ = (
        "asked",
        "cid",
        "file_bytes",
        "is_done",
        "is_inner",
        "is_waiting",
        "lacking",
        "offset",
        "places",
        "size",
    )

    def __init__(self, cid: bytes, is_inner: bool, offset: int, size: int, file_bytes: int) -> None:
        self.cid = cid
        self.is_inner = is_inner
        self.offset = offset
        self.size = size
        self.file_bytes = file_bytes
        self.places: list[Place] = []
        self.asked: list[AskedBlock] = []  # at most `most_copies`
        self.lacking: set[int] = set()  # holders that do not have it
        self.is_done = False
        self.is_waiting = False  # to be asked for

    @property
    def most_copies(self) -> int:
        """How many requests for it may be under way at once."""
        if not all(one.is_late and not one.holder.blocks for one in self.asked):
            return MAX_COPIES
        is_raw = self.cid.startswith(RAW_HEAD)  # a root may be: the file, which costs
        return MAX_INNER_COPIES if self.is_inner and not is_raw else MAX_COPIES + 1


class AskedBlock:
    """A request under way."""

    __slots__ = (
        "asked_at",
        "block",
        "delivered_before",
        "due_at",
        "holder",
        "is_late",
        "is_open",
        "number",
        "was_busy",
    )

    def __init__(
        self, number: int, holder: HolderState, block: WantedBlock, now: float, due_at: float
    ) -> None:
        self.number = number
        self.holder = holder
        self.block = block
        self.asked_at = now
        self.due_at = due_at  # when it is expected
        self.delivered_before = holder.pace.delivered
        self.was_busy = False
        self.is_late = False
        self.is_open = True


class WantedBlocks(Protocol):
    """Says which blocks are wanted, the most urgent first."""

    @property
    def is_held_up(self) -> bool:
        """Whether more would be wanted if what came was written: no reason to ask twice for anything."""

    def next_block(self) -> WantedBlock | None:
        """The next one; None: none for now."""
