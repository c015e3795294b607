"""Batches of which the store holds offers: their size, and which were put in as a whole."""

from __future__ import annotations

from collections.abc import Collection

from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import SignedAlone


class HeldBatches:
    """Counts the held offers of each batch; its bytes are held as long as one of them is."""

    __slots__ = ("_ends", "_live", "_own", "_steps", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        """The bytes of all held batches."""
        self._live: dict[SignedBatch, int] = {}
        self._own: set[SignedBatch] = set()
        self._steps: dict[SignedBatch, int] = {}  # when a batch that was put in as a whole expires
        self._ends: dict[int, set[SignedBatch]] = {}

    def put_whole(self, batch: SignedBatch, step: int, own: bool) -> None:
        """Puts all offers of a new batch, which expire in that step of time."""
        self._live[batch] = batch.count
        self.size_bytes += batch.size
        self._steps[batch] = step
        self._ends.setdefault(step, set()).add(batch)
        if own:
            self._own.add(batch)

    def put_one(self, batch: SignedBatch) -> bool:
        """Puts one offer of a batch; returns whether it is the first."""
        live = self._live.get(batch, 0)
        self._live[batch] = live + 1
        if not live:
            self.size_bytes += batch.size
        return not live

    def drop_one(self, batch: SignedBatch) -> bool:
        """Drops one offer of a batch; returns whether it was the last."""
        live = self._live[batch] = self._live[batch] - 1
        if live:
            return False
        del self._live[batch]
        self.size_bytes -= batch.size
        self._own.discard(batch)
        step = self._steps.pop(batch, None)
        if step is not None and (ending := self._ends.get(step)) is not None:
            ending.discard(batch)
            if not ending:
                del self._ends[step]
        return True

    def ending(self, step: int) -> Collection[SignedBatch]:
        """Batches that were put in as a whole and expire in that step."""
        return tuple(self._ends.get(step, ()))

    def is_own(self, signed: SignedAlone | SignedBatch) -> bool:
        """Whether it is a batch of our own offers."""
        return isinstance(signed, SignedBatch) and signed in self._own

    def added_bytes(self, signed: SignedAlone | SignedBatch) -> int:
        """Bytes that putting an offer adds."""
        return 0 if isinstance(signed, SignedBatch) and signed in self._live else signed.size

    def freed_bytes(self, signed: SignedAlone | SignedBatch) -> int:
        """Bytes that dropping a held offer frees."""
        return 0 if isinstance(signed, SignedBatch) and self._live[signed] > 1 else signed.size
