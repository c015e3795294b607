"""What changed in the offer store, for whoever keeps it on disk."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.offers.model import Offer


@dataclass(frozen=True, slots=True)
class Change:
    """`offer`, a tombstone perhaps, was put into the store, in the place of any version before; `own`: ours.

    What leaves the store because it is over or displaced makes no change.
    """

    offer: Offer
    own: bool


class Changes:
    """Collects changes once somebody wants them; he takes them after every turn, or they pile up."""

    __slots__ = ("_changes", "_wanted")

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._wanted = False

    def want(self) -> None:
        """From now on changes are kept until they are taken."""
        self._wanted = True

    def note(self, offer: Offer, own: bool) -> None:
        """For the store."""
        if self._wanted:
            self._changes.append(Change(offer, own))

    def take(self) -> list[Change]:
        """Changes since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes
