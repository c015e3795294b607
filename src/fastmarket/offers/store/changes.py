"""Changes of the offer store, for its copy on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer


class Change(NamedTuple):
    """`offer`, possibly a tombstone, was put into the store and replaced `replaced`; `own`: it is ours.

    Expired offers leave the store without a change.
    """

    offer: Offer
    own: bool
    replaced: Offer | None = None

    @property
    def offers(self) -> Sequence[Offer]:
        """The offer as a sequence, as `BatchChange` has it."""
        return (self.offer,)


class BatchChange(NamedTuple):
    """All offers of a batch were put into the store and replaced `replaced`."""

    batch: SignedBatch
    offers: Sequence[Offer]
    own: bool
    replaced: Sequence[Offer]


class Displaced(NamedTuple):
    """Offers of others were evicted to make room for others."""

    offers: Sequence[Offer]
    own: bool = False


AnyChange: TypeAlias = Change | BatchChange | Displaced


class Changes:
    """Collects changes from `collect` on; the owner takes them after each input, or they pile up."""

    __slots__ = ("_changes", "_collects", "has_own")

    def __init__(self) -> None:
        self._changes: list[AnyChange] = []
        self._collects = False
        self.has_own = False
        """Among those to be taken are changes of own offers."""

    def __len__(self) -> int:
        return len(self._changes)

    def collect(self) -> None:
        """From now on changes are kept until they are taken."""
        self._collects = True

    def note(self, change: AnyChange) -> None:
        """For the store."""
        if self._collects:
            self._changes.append(change)
            self.has_own = self.has_own or change.own

    def take(self) -> list[AnyChange]:
        """Changes since the last call, in order."""
        changes, self._changes, self.has_own = self._changes, [], False
        return changes
