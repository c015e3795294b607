"""Batches of which the store holds offers: what they take up, and which were put in as a whole."""

from __future__ import annotations

from collections.abc import Collection

from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import SignedAlone


class HeldBatches:
    """Counts the offers held of each batch, whose bytes are there as long as one of them is."""

    __slots__ = ("_ends", "_live", "_own", "_steps", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all."""
        self._live: dict[SignedBatch, int] = {}
        self._own: set[SignedBatch] = set()
        self._steps: dict[SignedBatch, int] = {}  # of those put in as a whole, when all of it ends
        self._ends: dict[int, set[SignedBatch]] = {}

    def put_whole(self, batch: SignedBatch, step: int, own: bool) -> None:
        """All offers of a new batch, which end in that step of time."""
        self._live[batch] = batch.count
        self.size += batch.size
        self._steps[batch] = step
        self._ends.setdefault(step, set()).add(batch)
        if own:
            self._own.add(batch)

    def put_one(self, batch: SignedBatch) -> bool:
        """One offer of it; whether that is the first."""
        live = self._live.get(batch, 0)
        self._live[batch] = live + 1
        if not live:
            self.size += batch.size
        return not live

    def drop_one(self, batch: SignedBatch) -> bool:
        """One offer less; whether that was the last."""
        live = self._live[batch] = self._live[batch] - 1
        if live:
            return False
        del self._live[batch]
        self.size -= batch.size
        self._own.discard(batch)
        step = self._steps.pop(batch, None)
        if step is not None and (ending := self._ends.get(step)) is not None:
            ending.discard(batch)
            if not ending:
                del self._ends[step]
        return True

    def ending(self, step: int) -> Collection[SignedBatch]:
        """Those put in as a whole that end in that step."""
        return tuple(self._ends.get(step, ()))

    def is_own(self, signed: SignedAlone | SignedBatch) -> bool:
        """Whether it is a batch that was put in as an own one."""
        return isinstance(signed, SignedBatch) and signed in self._own

    def more(self, signed: SignedAlone | SignedBatch) -> int:
        """Bytes that come with an offer."""
        return 0 if isinstance(signed, SignedBatch) and signed in self._live else signed.size

    def less(self, signed: SignedAlone | SignedBatch) -> int:
        """Bytes that go with an offer that is held."""
        return 0 if isinstance(signed, SignedBatch) and self._live[signed] > 1 else signed.size
