"""What changed in the offer store, for whoever keeps it on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer


class Change(NamedTuple):
    """`offer`, a tombstone perhaps, was put into the store, in the place of `replaced`; `own`: ours.

    What leaves the store because its time is over makes no change.
    """

    offer: Offer
    own: bool
    replaced: Offer | None = None

    @property
    def offers(self) -> Sequence[Offer]:
        """As of a batch."""
        return (self.offer,)


class BatchChange(NamedTuple):
    """All offers of a batch were put into the store, in the places of `replaced`."""

    batch: SignedBatch
    offers: Sequence[Offer]
    own: bool
    replaced: Sequence[Offer]


class Displaced(NamedTuple):
    """Offers of others gave way to newer ones: they are held no longer."""

    offers: Sequence[Offer]
    own: bool = False


AnyChange: TypeAlias = Change | BatchChange | Displaced


class Changes:
    """Collects changes once somebody wants them; he takes them soon after he was told, or they pile up."""

    __slots__ = ("_changes", "_told")

    def __init__(self) -> None:
        self._changes: list[AnyChange] = []
        self._told: Callable[[], None] | None = None

    def want(self, told: Callable[[], None]) -> None:
        """From now on changes are kept until they are taken; `told` is called at the first of them."""
        self._told = told

    def note(self, change: AnyChange) -> None:
        """For the store."""
        if self._told is None:
            return
        if not self._changes:
            self._told()
        self._changes.append(change)

    def take(self) -> list[AnyChange]:
        """Changes since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes
