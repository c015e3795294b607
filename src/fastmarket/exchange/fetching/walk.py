"""The walk over a file's DAG: which blocks come next, inner nodes and leaves, by offset.

Only links are here, and only those of nodes on the way: a run of children is a node's links and a position.
Nothing is believed but offsets: what a child delivers is compared with what was promised for it
(`file_body`) before it is expanded here.
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from itertools import count

from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import LimitExceeded
from fastmarket.exchange.fetching.links import PackedLinks
from fastmarket.exchange.fetching.wanted import Place
from fastmarket.formats.block import MAX_BLOCK_BYTES, RAW_HEAD


class _Run:
    """The children of one node that were not taken yet."""

    __slots__ = ("at", "depth", "end", "links", "offset")

    def __init__(self, links: PackedLinks, at: int, end: int, offset: int, depth: int) -> None:
        self.links = links
        self.at = at
        self.end = end
        self.offset = offset  # in the file, of the next child
        self.depth = depth


class LeafWalk:
    """What lies between `first` and `end` (exclusive) of the file.

    A child that promises more than a block may have is an inner node; any other is taken for a leaf until a
    block at its depth shows links: as a rule, all at one depth are of one kind. Children of no bytes are not
    fetched: nothing of them can be in the file. All that are taken are counted.
    """

    __slots__ = (
        "_config",
        "_inner",
        "_inner_depths",
        "_leaf_count",
        "_leaves",
        "_numbers",
        "_taken",
        "end",
        "first",
        "known_leaves",
        "max_taken",
    )

    def __init__(self, config: FetchConfig, first: int, end: int) -> None:
        self._config = config
        self._inner: list[tuple[int, int, _Run]] = []  # by offset of the next child
        self._leaves: list[tuple[int, int, _Run]] = []
        self._inner_depths: set[int] = set()  # of inner nodes that promise no more than a block may have
        self._numbers = count()
        self._taken = self._leaf_count = 0
        self.first = first
        self.end = end
        self.known_leaves = 0
        """Leaves whose links are here."""
        self.max_taken = config.free_links + (end - first) // config.min_leaf_bytes

    def expand(self, links: PackedLinks, offset: int, depth: int) -> None:
        """Adds the children of a node at `offset`, whose size is what was promised; `depth` is theirs. Raises
        LimitExceeded if they are too deep, or more than a file of that size has."""
        if depth > self._config.max_depth:
            raise LimitExceeded("links from the root to a leaf", self._config.max_depth, depth)
        offset += len(links.inline)
        sizes, start, stop = links.sizes, 0, len(links)
        while start < stop and offset + sizes[start] <= self.first:
            offset += sizes[start]
            start += 1
        if offset + links.file_bytes > self.end:
            stop = self._stop(links, start, offset)
        if start < stop:
            self._push(_Run(links, start, stop, offset, depth))

    def _stop(self, links: PackedLinks, at: int, offset: int) -> int:
        while at < len(links) and offset < self.end:
            offset += links.sizes[at]
            at += 1
        return at

    def next_inner(self, reach: int) -> Place | None:
        """The next inner node that begins before `reach`. None while enough leaves are known, unless it comes
        before all of them."""
        heap = self._inner
        if not heap or heap[0][0] >= reach:
            return None
        if self.known_leaves >= self._config.max_known_leaves and heap[0][0] > self._leaves[0][0]:
            return None
        return self._take(heap)

    @property
    def leaf_offset(self) -> int:
        """Where the next leaf begins; `end` if none is known."""
        return self._leaves[0][0] if self._leaves else self.end

    def next_leaf(self) -> Place:
        """The next leaf."""
        return self._take(self._leaves)

    @property
    def is_done(self) -> bool:
        """Whether everything was taken."""
        return not self._inner and not self._leaves

    def _take(self, heap: list[tuple[int, int, _Run]]) -> Place:
        run = heap[0][2]
        links, at = run.links, run.at
        size = links.sizes[at]
        place = Place(links.cid(at), run.offset, size, run.depth)
        self._count(1)
        run.at = at + 1
        run.offset += size
        is_leaf = heap is self._leaves
        if is_leaf:
            self.known_leaves -= 1
            self._count_leaf(run.offset)
        if run.at < run.end and links.sizes[run.at] and self._is_leaf(run) is is_leaf:
            entry = (run.offset, next(self._numbers), run)
            if len(heap) == 1:
                heap[0] = entry
            else:
                heapreplace(heap, entry)
        else:
            heappop(heap)
            if is_leaf:
                self.known_leaves -= run.end - run.at
            self._push(run)
        return place

    def _is_leaf(self, run: _Run) -> bool:
        """Whether its next child is taken for a leaf."""
        links, at = run.links, run.at
        if links.sizes[at] > MAX_BLOCK_BYTES:
            return False
        return run.depth not in self._inner_depths or links.cid(at).startswith(RAW_HEAD)

    def on_inner(self, depth: int) -> None:
        """A block at that depth, which was taken for a leaf, has links: so have its siblings."""
        if depth in self._inner_depths:
            return
        self._inner_depths.add(depth)
        runs = [run for _, _, run in self._leaves]
        self._leaves.clear()
        self.known_leaves = 0
        for run in runs:
            self._push(run)

    def _push(self, run: _Run) -> None:
        """Under the kind of its next child that has bytes."""
        sizes = run.links.sizes
        while run.at < run.end and not sizes[run.at]:
            run.at += 1
            self._count(1)
        if run.at == run.end:
            return
        is_leaf = self._is_leaf(run)
        if is_leaf:
            self.known_leaves += run.end - run.at
        heappush(self._leaves if is_leaf else self._inner, (run.offset, next(self._numbers), run))

    def _count_leaf(self, reached: int) -> None:
        """Leaves come by offset. What the file promises behind them does not pay for theirs: one of 1 TiB in
        bytes would keep us busy for years."""
        self._leaf_count += 1
        config = self._config
        if self._leaf_count > config.free_links + max(reached - self.first, 0) // config.min_leaf_bytes:
            raise LimitExceeded("links in a file of that size", self._leaf_count - 1)

    def _count(self, taken: int) -> None:
        self._taken += taken
        if self._taken > self.max_taken:
            raise LimitExceeded("links in a file of that size", self.max_taken)
