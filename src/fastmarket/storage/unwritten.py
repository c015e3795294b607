"""What waits for the next write: offers one by one, whole batches, and what takes the place of what."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import BatchChange, Change
from fastmarket.storage.database import KEY_BYTES, MAX_NUMBER, BatchRow, BatchWrites, Row

_OWN = 1  # of a row


class KeptBatch:
    """A batch that lies on disk, or waits to; `live` has a bit for each slot that is not dead."""

    __slots__ = ("count", "live", "lost", "row")

    def __init__(self, row: BatchRow, count: int, dead: Iterable[int] = ()) -> None:
        self.row = row
        self.count = count
        self.live = (1 << count) - 1
        for slot in dead:
            self.live &= ~(1 << slot)
        self.lost = False  # it never came to disk, its offers may lie there one by one

    @property
    def dead(self) -> Collection[tuple[int, int]]:
        """As they are written."""
        return [(self.row.number, slot) for slot in range(self.count) if not self.live >> slot & 1]


class Unwritten:
    """Changes in the order they come, as the rows they make. `take` hands them over for one write."""

    def __init__(self, kept: WeakKeyDictionary[SignedBatch, KeptBatch]) -> None:
        """`kept`: the batches on disk, and those on the way there."""
        self._kept = kept
        self.rows: dict[OfferKey, Row] = {}  # the latest version of each
        self.batches: dict[int, KeptBatch] = {}
        self._gone: dict[bytes, bool] = {}  # keys of rows; whether they are own ones
        self._dead: dict[tuple[int, int], bool] = {}
        self._over: dict[int, bool] = {}
        self._seq = 0  # the highest of own offers

    def __bool__(self) -> bool:
        return bool(self.rows or self.batches or self._gone or self._dead or self._over)

    def __len__(self) -> int:
        """Offers."""
        return len(self.rows) + sum(kept.count for kept in self.batches.values())

    def add(self, change: Change) -> None:
        """In the place of any earlier version."""
        key = change.offer.key
        self.rows[key] = _row(key, change)
        if change.own:
            self._seq = max(self._seq, change.offer.seq)
        if change.replaced is not None:
            self._bury(change.replaced, change.own)

    def add_batch(self, change: BatchChange, number: int) -> None:
        """All of it, under a number that no other has."""
        batch, own = change.batch, int(change.own)
        not_after = max(offer.not_after for offer in change.offers)
        kept = KeptBatch(BatchRow(number, own, not_after, batch.data), batch.count)
        self._kept[batch] = kept
        self.batches[number] = kept
        if change.own:
            self._seq = max(self._seq, *(offer.seq for offer in change.offers))
        for offer in change.replaced:
            self.forget(offer, change.own)

    def forget(self, offer: Offer, own: bool) -> None:
        """Something that is kept in a batch replaces it."""
        if not self._bury(offer, own):
            key = offer.key
            self.rows.pop(key, None)
            self._gone[short_key(key)] = own

    def take(self) -> tuple[list[Row], BatchWrites]:
        """What to write now."""
        return list(self.rows.values()), BatchWrites(
            gone=tuple(self._gone),
            batches=[kept.row for kept in self.batches.values()],
            dead=[*self._dead, *(pair for kept in self.batches.values() for pair in kept.dead)],
            over=tuple(self._over),
            seq=min(self._seq, MAX_NUMBER),
        )

    def own_of(self, failed: Unwritten) -> None:
        """Takes up what could not be written and has to be, the own ones, where nothing came since."""
        for key, row in failed.rows.items():
            if row[_OWN] and row[0] not in self._gone:
                self.rows.setdefault(key, row)
        for number, kept in failed.batches.items():
            if not kept.row.own:
                kept.lost = True
            elif kept.live:
                self.batches[number] = kept
        self._seq = max(self._seq, failed._seq)
        _take_own(self._gone, failed._gone)
        _take_own(self._dead, failed._dead)
        _take_own(self._over, failed._over)

    def _bury(self, offer: Offer, own: bool) -> bool:
        """Whether it was kept in a batch; its slot there is dead now."""
        batch = offer.signed
        kept = self._kept.get(batch) if isinstance(batch, SignedBatch) else None
        if kept is None or kept.lost:
            return False
        number = kept.row.number
        kept.live &= ~(1 << offer.slot)
        if not kept.live:
            self.batches.pop(number, None)
            self._over[number] = own  # though it failed to be written: that may have been told too early
        elif number not in self.batches:
            self._dead[number, offer.slot] = own
        return True


Mark = TypeVar("Mark")


def _take_own(ours: dict[Mark, bool], theirs: dict[Mark, bool]) -> None:
    ours.update((mark, own) for mark, own in theirs.items() if own)


def short_key(key: OfferKey) -> bytes:
    """Of a row. Content and provider are multihashes, which say how long they are."""
    return sha256(b"".join(key))[:KEY_BYTES]


def _row(key: OfferKey, change: Change) -> Row:
    offer = change.offer
    return (short_key(key), int(change.own), int(offer.withdrawn), offer.not_after, offer.envelope)
