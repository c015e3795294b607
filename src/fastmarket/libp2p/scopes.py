"""Memory held for peers, counted where it is limited: per connection, and over all of them.

A scope counts bytes, and its parent those of all its children. It only counts: the shell measures a
connection after each of its turns (`Connection.holding`) and closes the worst when all of them together hold
too much; before that point, peers that have not taken earlier answers get no more.
"""

from __future__ import annotations

from typing import Final

# Fraction of its limit above which a scope is strained, and to which closing connections brings it back.
_STRAINED: Final = 0.5
_RELIEVED: Final = 0.75

# An open stream without data: its state here and in its protocol.
STREAM_BYTES: Final = 1024


class MemoryScope:
    """Bytes held; `limit` 0: one child of many, whose parent has the limit."""

    __slots__ = ("_parent", "held", "limit")

    def __init__(self, limit: int = 0, parent: MemoryScope | None = None) -> None:
        self.limit = limit
        self.held = 0
        self._parent = parent

    def settle(self, held: int) -> None:
        """Sets the bytes held now."""
        if self._parent is not None:
            self._parent.settle(self._parent.held + held - self.held)
        self.held = held

    @property
    def strained(self) -> bool:
        """Whether work that can wait should wait."""
        whole = self if self._parent is None else self._parent
        return whole.held > whole.limit * _STRAINED

    @property
    def full(self) -> bool:
        """Whether something has to be closed."""
        whole = self if self._parent is None else self._parent
        return whole.held > whole.limit

    @property
    def relieved(self) -> bool:
        """Whether enough has been closed."""
        return self.held <= self.limit * _RELIEVED
