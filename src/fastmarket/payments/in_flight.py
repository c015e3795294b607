"""What is kept in memory because rows of it are on their way to the disk."""

from __future__ import annotations

from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class InFlight(Generic[Kept]):
    """Things by their key, as often as they were added."""

    __slots__ = ("_counts", "_things")

    def __init__(self) -> None:
        self._things: dict[bytes, Kept] = {}
        self._counts: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._things)

    def add(self, key: bytes, thing: Kept) -> None:
        """A row of it was handed out."""
        self._things[key] = thing
        self._counts[key] = self._counts.get(key, 0) + 1

    def end(self, key: bytes) -> Kept | None:
        """It arrived, or did not; None: there was none."""
        thing = self._things.get(key)
        if thing is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._things[key], self._counts[key]
        return thing
