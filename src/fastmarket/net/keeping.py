"""What changes in the offer store goes to whoever keeps it, and callers wait until it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from fastmarket.errors import StorageFault
from fastmarket.faults import Faults
from fastmarket.offers.changes import AnyChange
from fastmarket.offers.protocol import OfferProtocol


class Keeper(Protocol):
    """`storage.journal.Journal` on a node with a data directory."""

    def keep(self, changes: Sequence[AnyChange]) -> Awaitable[None]:
        """Done when they would survive SIGKILL and power loss; raises StorageFault."""


class Keeping:
    """Takes the changes of each loop turn together."""

    def __init__(self, offers: OfferProtocol, keeper: Keeper, faults: Faults | None = None) -> None:
        self._faults = faults or Faults()
        self._offers = offers
        self._keeper = keeper
        self._kept: Awaitable[None] | None = None  # the last that held own offers
        self._handle: asyncio.Handle | None = None
        offers.want_changes(self._told)

    async def settled(self) -> None:
        """Every own offer and tombstone signed so far is durable. Raises StorageFault."""
        if self._handle is not None:
            self.flush()
        kept = self._kept
        if kept is not None:
            await asyncio.shield(asyncio.ensure_future(kept))

    def flush(self) -> None:
        """Hands over what has changed."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        changes = self._offers.poll_changes()
        if changes:
            try:
                kept = self._keeper.keep(changes)
            except Exception as error:  # noqa: BLE001 - what nobody has is not acknowledged
                kept = _lost(error)
                self._faults.tell("keeping offers", error)
            if any(change.own for change in changes):
                self._kept = kept

    def _told(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self.flush)


def _lost(error: Exception) -> Awaitable[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_exception(StorageFault(f"a bug of ours: {error!r}"))
    done.exception()  # whoever waits gets it; nobody has to wait
    return done
