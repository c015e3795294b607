"""What a fetch needs of a holder, whatever it is asked over: HTTP, Bitswap, this node's own goods."""

from __future__ import annotations

from typing import Protocol

from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure


class BlockAnswers(Protocol):
    """The asking side: each `Ask` gets exactly one of these calls for its `request`, unless dropped before.

    They may come from within `BlockHolder.ask`. They only note the answer; the fetch has its turn afterwards.
    """

    def on_block(self, request: int, block: bytes) -> int:
        """The bytes, of which nothing is verified; returns how many of the file they are, and right."""

    def on_missing(self, request: int) -> None:
        """The holder says that it does not have the block."""

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        """There is no answer. `detail`: for people. `retry_after_s`: when the holder wants to be asked
        again, as it said."""


class BlockHolder(Protocol):
    """One holder, during one fetch; it is given its `BlockAnswers` when it is made."""

    @property
    def source(self) -> str:
        """Where its bytes come from, for people: an URL, or "bitswap"."""

    def ask(self, ask: Ask) -> None:
        """Asks for a block. How many at a time is decided by the fetch, and when it has waited long enough
        (`Ask.deadline`): then it drops the request."""

    def drop(self, request: int) -> None:
        """The block is no longer wanted: no answer follows. An unknown number is ignored."""

    async def close(self) -> None:
        """Ends everything; no answer follows."""
