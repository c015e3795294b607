"""What changes in the offer store goes to whoever keeps it, and callers wait until it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from fastmarket.errors import NotDurable, StorageFault
from fastmarket.faults import Faults
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.store.changes import AnyChange


class Keeper(Protocol):
    """`storage.journal.Journal` on a node with a data directory."""

    @property
    def trouble(self) -> str:
        """Why nothing can be kept now; ""."""

    @property
    def lost(self) -> str:
        """Why nothing can be kept until this process ends, so that nothing should be begun; ""."""

    def keep(self, changes: Sequence[AnyChange]) -> Awaitable[None]:
        """Done when they would survive SIGKILL and power loss; raises StorageFault."""


class Durability:
    """Takes the changes of each loop turn together."""

    def __init__(self, offers: OfferProtocol, keeper: Keeper, faults: Faults | None = None) -> None:
        self._faults = faults or Faults()
        self._offers = offers
        self._keeper = keeper
        self._kept: Awaitable[None] | None = None  # the last that held own offers
        self._handle: asyncio.Handle | None = None
        offers.want_changes(self._told)

    @property
    def trouble(self) -> str:
        """As the keeper says."""
        return self._keeper.trouble

    def check(self) -> None:
        """Before something is signed that could not be kept. Raises StorageFault."""
        if why := self._keeper.lost:
            raise NotDurable(why)

    async def settled(self, timeout_s: float | None = None) -> None:
        """Every own offer and tombstone signed so far is durable. Raises StorageFault, after `timeout_s` at
        the latest, with what it is that takes so long."""
        if self._handle is not None:
            self.flush()
        kept = self._kept
        if kept is None:
            return
        waiting = asyncio.ensure_future(kept)
        await asyncio.wait({waiting}, timeout=timeout_s)
        if not waiting.done():
            raise NotDurable(self._keeper.trouble or f"the disk has not taken it within {timeout_s:.1f} s")
        try:
            waiting.result()
        except StorageFault as fault:
            raise NotDurable(str(fault)) from None

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
