"""Asks the store of a fleet for shares of credit, as they are wanted."""

from __future__ import annotations

import asyncio
import logging

from fastmarket.config.payments import CreditPolicy
from fastmarket.errors import StorageFault
from fastmarket.payments.shares import CreditShares, ShareWanted
from fastmarket.storage.shared_credit import SharedCredit

log = logging.getLogger(__name__)


class FleetCredit:
    """Around the shares of one server."""

    def __init__(self, shared: SharedCredit, policy: CreditPolicy) -> None:
        self.shares = CreditShares(policy, self._wake)
        self._shared = shared
        self._asking: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """Gives up what is asked for."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _wake(self) -> None:
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(self._on_asked)

    def _on_asked(self, asking: asyncio.Future[None]) -> None:
        self._asking = None
        if not asking.cancelled() and (bug := asking.exception()) is not None:
            log.error("cannot ask for shares of credit", exc_info=bug)

    async def _ask(self) -> None:
        while wanted := self.shares.poll_wanted():
            await asyncio.gather(*map(self._ask_one, wanted))

    async def _ask_one(self, wanted: ShareWanted) -> None:
        try:
            granted = await self._shared.grant(wanted.buyer, wanted.count, wanted.held, wanted.credit)
        except StorageFault:
            self.shares.on_failed(wanted)  # the fleet tells that its store is away
        except BaseException:
            self.shares.on_failed(wanted)
            raise
        else:
            self.shares.on_granted(wanted, granted)
