"""Group commit of registrations: what comes while others are under way is signed and announced together.

A registration by itself costs a signature, a lookup and a message to each storer; a hundred together cost
little more. One that comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastmarket.errors import ConnectionLost, FastmarketError
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.offers.model.results import StoreOutcome

Settle = Callable[[int, StoreOutcome, bool], None]
"""Told how the offer at an index turned out; False: for the time being, it is tried again."""

Together = Callable[[Sequence[OfferTerms], Settle], Coroutine[Any, Any, None]]
"""Registers many; ends when all have settled. Raises FastmarketError with none registered."""


_NOBODY_ASKED = StoreOutcome(0, 0, 1)
# Together with those that are tried again; of more each keeps its turn until it ends.
_MOST_TASKS = 256


@dataclass(slots=True)
class Registration:
    """One caller's. `settled` is done when a quorum has the offer, or it cannot be had; it fails as a
    registration does."""

    terms: OfferTerms
    settled: asyncio.Future[StoreOutcome]
    latest: StoreOutcome = _NOBODY_ASKED

    def so_far(self) -> StoreOutcome:
        """How it turned out, or how it stands. Raises what `settled` failed with."""
        return self.settled.result() if self.settled.done() else self.latest


class Turn:
    """A place among what is under way at once, given up when each of `count` registrations was told of once,
    or all has ended: what is tried again for long, at storers that refuse or hang, keeps nobody waiting."""

    def __init__(self, count: int, give_up: Callable[[], None]) -> None:
        self._untold = set(range(count))
        self._give_up: Callable[[], None] | None = give_up

    def told(self, index: int) -> None:
        """How it turned out, or how it stands."""
        self._untold.discard(index)
        if not self._untold:
            self.end()

    def end(self) -> None:
        """The place is given up, if it was not."""
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()


class Gathering:
    """At most `most_running` registrations, alone or together, are under way for the first time; others are
    gathered meanwhile, and taken up `most_together` at a time, in the order they came.

    Many at once are followed by about as many, by callers that have waited for their answer: those are
    expected for `wait_s` seconds.
    """

    def __init__(self, together: Together, most_running: int, most_together: int, wait_s: float) -> None:
        self._together = together
        self._most_running = most_running
        self._most_together = most_together
        self._wait_s = wait_s
        self._waiting: list[Registration] = []
        self._running = 0
        self._expected = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Nothing is under way or waits, and no company is expected."""
        return not self._running and not self._waiting and self._expected <= 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One that did not have to wait is under way."""
        self._running += 1
        try:
            yield
        finally:
            self._ended()

    def join(self, terms: OfferTerms) -> Registration:
        """It waits, and is under way at some time."""
        settled: asyncio.Future[StoreOutcome] = asyncio.get_running_loop().create_future()
        settled.add_done_callback(_seen)
        registration = Registration(terms, settled)
        self._waiting.append(registration)
        self._more()
        return registration

    def close(self) -> None:
        """Nothing is registered any more; who waits is told so."""
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._tell_stopped(self._waiting)
        self._waiting = []
        for task in self._tasks:
            task.cancel()

    def _more(self) -> None:
        """In the next turn of the loop all that was expected, else what has come by the end of the wait."""
        if not self._waiting or self._running >= self._most_running or self._soon is not None:
            return
        loop = asyncio.get_running_loop()
        if not self._running and len(self._waiting) >= self._expected:
            self._soon = loop.call_soon(self._begin)
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._begin)

    def _begin(self) -> None:
        early = self._soon is not None
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None
        if not self._waiting or self._running >= self._most_running:
            return  # the end of one looks again
        taken = self._waiting[: self._most_together]
        del self._waiting[: self._most_together]
        # As many as expected came before their time: perhaps there are more.
        self._expected = len(taken) * 2 if early else len(taken)
        self._running += 1
        turn = Turn(len(taken), self._ended)
        task = asyncio.ensure_future(self._register(taken, turn))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._batch_ended(task, turn))

    async def _register(self, taken: Sequence[Registration], turn: Turn | None = None) -> None:
        def settle(index: int, outcome: StoreOutcome, final: bool = True) -> None:
            one = taken[index]
            if not final:
                one.latest = outcome
            elif not one.settled.done():
                one.settled.set_result(outcome)
            if turn is not None and len(self._tasks) <= _MOST_TASKS:
                turn.told(index)

        try:
            await self._together([one.terms for one in taken], settle)
        except FastmarketError as fault:
            if len(taken) > 1:  # one may be at fault for all
                for one in taken:
                    await self._register([one])
            elif not taken[0].settled.done():
                taken[0].settled.set_exception(fault)
        except asyncio.CancelledError:
            self._tell_stopped(taken)
            raise
        except Exception as error:
            for one in taken:  # or they would wait until their deadline
                if not one.settled.done():
                    one.settled.set_exception(error)
            raise

    @staticmethod
    def _tell_stopped(several: Sequence[Registration]) -> None:
        for one in several:
            if not one.settled.done():
                one.settled.set_exception(ConnectionLost("the node has stopped"))

    def _batch_ended(self, task: asyncio.Task[None], turn: Turn) -> None:
        self._tasks.discard(task)
        turn.end()
        if not task.cancelled():
            task.result()  # a bug of ours: told by the loop

    def _ended(self) -> None:
        self._running -= 1
        self._more()


def _seen(outcome: asyncio.Future[StoreOutcome]) -> None:
    """Its caller may have given up."""
    if not outcome.cancelled():
        outcome.exception()
