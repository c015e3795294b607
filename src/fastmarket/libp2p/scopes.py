"""What strangers make us hold, counted where it is bounded: by connection, and over all of them.

A scope counts bytes, and its parent those of all its children. It only counts: the shell measures a
connection after each of its turns (`Connection.held_bytes`) and ends the worst when all of them together hold
too much; before it comes to that, no answer is made for who has not taken the ones before.
"""

from __future__ import annotations

from typing import Final

# From this part of its limit on a scope is strained, and by ending some it is brought back to the other one.
_STRAINED: Final = 0.5
_RELIEVED: Final = 0.75

# An open stream without anything in it: its state here and in its protocol.
STREAM_BYTES: Final = 1024


class MemoryScope:
    """Bytes held; `limit` 0: of one child of many, whose parent has one."""

    __slots__ = ("_parent", "held", "limit")

    def __init__(self, limit: int = 0, parent: MemoryScope | None = None) -> None:
        self.limit = limit
        self.held = 0
        self._parent = parent

    def settle(self, held: int) -> None:
        """So much is held now."""
        if self._parent is not None:
            self._parent.settle(self._parent.held + held - self.held)
        self.held = held

    @property
    def is_strained(self) -> bool:
        """Whether what can wait should wait."""
        whole = self if self._parent is None else self._parent
        return whole.held > whole.limit * _STRAINED

    @property
    def is_full(self) -> bool:
        """Whether something has to go."""
        whole = self if self._parent is None else self._parent
        return whole.held > whole.limit

    @property
    def is_relieved(self) -> bool:
        """Whether enough has gone."""
        return self.held <= self.limit * _RELIEVED
