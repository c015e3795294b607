"""fastmarket.net.one_shot."""

from __future__ import annotations

import asyncio

import pytest

from fastmarket.net.one_shot import OneShot


def test_those_who_wait_and_those_who_come_later() -> None:
    async def main() -> None:
        moment = OneShot()
        waiting = [asyncio.ensure_future(moment.wait()) for _ in range(2)]
        assert not moment.is_set()
        moment.set()
        moment.fail(OSError("too late to count"))
        await asyncio.gather(*waiting)
        await moment
        assert moment.is_set()

    asyncio.run(main())


def test_a_fault_is_raised_in_all_of_them() -> None:
    async def main() -> None:
        moment = OneShot()
        early = moment.wait()
        moment.fail(OSError("gone"))
        for wait in (early, moment.wait(), moment):
            with pytest.raises(OSError, match="gone"):
                await wait

    asyncio.run(main())


def test_one_who_gives_up_leaves_it_to_the_next() -> None:
    async def main() -> None:
        moment = OneShot()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await moment
        assert not moment.is_set()
        asyncio.get_running_loop().call_soon(moment.come)
        await moment

    asyncio.run(main())
