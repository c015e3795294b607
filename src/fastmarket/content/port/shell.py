"""What all connections of a content port share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fastmarket.config import ContentConfig
from fastmarket.content.port.budget import SendBudget
from fastmarket.content.port.cold import SliceReaders
from fastmarket.content.port.desk import AnswerDesk
from fastmarket.content.port.entrance import Entrance
from fastmarket.faults import Faults


class OpenConnection(Protocol):
    """A connection, as the port sees it."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""

    @property
    def held_bytes(self) -> int:
        """Bytes held for it."""

    def take_turn(self, share: int) -> None:
        """May send so many bytes now."""

    def look(self, now: float) -> None:
        """Ends what is overdue."""

    def finish(self) -> None:
        """Ends after what is under way."""

    def end_now(self) -> None:
        """Ends, whatever is under way."""


class PortShell:
    """The loop and the clock, and what is counted and given out over all connections."""

    def __init__(
        self, config: ContentConfig, desk: AnswerDesk, clock: Callable[[], float], faults: Faults
    ) -> None:
        self.config = config
        self.desk = desk
        self.tally = desk.tally
        self.now = clock
        self.faults = faults
        self.loop = asyncio.get_running_loop()
        self.entrance = Entrance(
            config.max_connections, config.max_connections_per_ip, config.max_turned_away
        )
        self.budget: SendBudget[OpenConnection] = SendBudget(config.rate_bytes, clock())
        self.connections: set[OpenConnection] = set()
        self.readers = SliceReaders(self.loop)
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, who: OpenConnection) -> int:
        """Bytes that may be sent now; 0: `take_turn` will say when."""
        share = self.budget.ask(who, self.now())
        if not share and self._timer is None:
            self._arm()
        return share

    async def some_end(self, within_s: float) -> None:
        """Returns when a connection has ended what it had to do, or after so long."""
        self._ended.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), within_s)

    def note_end(self) -> None:
        """A connection has."""
        self._ended.set()

    async def close(self) -> None:
        """Gives out no more turns, and reads nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        await self.readers.close()

    def _arm(self) -> None:
        at = self.budget.next_timer()
        if at is not None:
            self._timer = self.loop.call_later(max(at - self.now(), 0.0), self._turns)

    def _turns(self) -> None:
        self._timer = None
        try:
            while (turn := self.budget.next_turn(self.now())) is not None:
                who, share = turn
                who.take_turn(share)
        finally:
            self._arm()
