"""Offers of what is no longer sold are all withdrawn, whoever leaves and whatever fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from fastmarket.content.withdrawing import AT_ONCE, Withdrawals
from fastmarket.errors import NetworkFault, NoSuchOffer
from fastmarket.kad.outcome import Outcome
from tests.conftest import Run

MANY = [(b"%d" % number, b"me") for number in range(3 * AT_ONCE)]


class Registry:
    """Withdraws an offer when `go` is set, unless it is one of `faults`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.withdrawn: list[bytes] = []
        self.under_way = self.most = 0
        self.faults: dict[bytes, Exception] = {}

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go.wait()
        self.under_way -= 1
        if content in self.faults:
            raise self.faults[content]
        self.withdrawn.append(content)
        return Outcome(1, 1, 1)


def test_many_at_once_and_each_once(run: Run[Any]) -> None:
    async def main() -> None:
        registry = Registry()
        registry.go.set()
        withdrawals = Withdrawals(registry, lambda content, _: content == b"7")
        await withdrawals.withdraw([*MANY, *MANY], 1.0)
        await withdrawals.withdraw([], 1.0)
        assert sorted(registry.withdrawn) == sorted({name for name, _ in MANY} - {b"7"})
        assert registry.most <= AT_ONCE

    run(main())


def test_it_goes_on_when_the_caller_has_left(run: Run[Any]) -> None:
    async def main() -> None:
        registry = Registry()
        withdrawals = Withdrawals(registry, lambda *_: False)
        caller = asyncio.ensure_future(withdrawals.withdraw(MANY, 1.0))
        await asyncio.sleep(0)
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        registry.go.set()
        while withdrawals._tasks:
            await asyncio.wait(withdrawals._tasks)
        assert len(registry.withdrawn) == len(MANY)

    run(main())


def test_one_that_fails_holds_up_no_other(run: Run[Any]) -> None:
    async def main() -> None:
        registry = Registry()
        registry.go.set()
        registry.faults = {b"3": NetworkFault("no peer"), b"4": NoSuchOffer("content", "is not offered")}
        withdrawals = Withdrawals(registry, lambda *_: False)
        with pytest.raises(NetworkFault, match="no peer"):
            await withdrawals.withdraw(MANY, 1.0)
        assert len(registry.withdrawn) == len(MANY) - 2

    run(main())


def test_none_runs_after_the_end(run: Run[Any]) -> None:
    async def main() -> None:
        registry = Registry()
        withdrawals = Withdrawals(registry, lambda *_: False)
        caller = asyncio.ensure_future(withdrawals.withdraw(MANY, 1.0))
        await asyncio.sleep(0)
        await withdrawals.close()
        assert not withdrawals._tasks
        assert registry.withdrawn == []
        with suppress(asyncio.CancelledError):
            await caller

    run(main())
