"""A directory that is followed is sold as it is, soon after it changed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.following import Followers
from fastmarket.content.goods import SellOrder
from fastmarket.content.watching import changes_below, check_watching
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from tests.conftest import Run
from tests.content.shop import Shop, shop

CONFIG = ContentConfig(watch_quiet_s=0.02, watch_latest_s=0.2, look_s=0.1)


class Seller:
    """Runs orders in a store, and wakes whoever waits for what it sells."""

    def __init__(self, store: Shop) -> None:
        self.store = store
        self.runs = 0
        self.ran = asyncio.Condition()
        self.fails = False

    async def sell(self, order: SellOrder) -> None:
        try:
            if self.fails:
                raise RuntimeError("a bug")
            async for _ in self.store.importer.sell(order):
                pass
        finally:
            async with self.ran:
                self.runs += 1
                self.ran.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with self.ran:
            await self.ran.wait_for(is_so)

    def names(self) -> list[str]:
        return [good.name for good in self.store.catalogue.goods() if good.cid is not None]


def test_what_changes_is_sold(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            (root / "sub").mkdir(parents=True)
            (root / "a").write_text("a")
            seller = Seller(store)
            followers = Followers(CONFIG, seller.sell, Faults())
            order = store.order(root, each_file=True, watched=True)
            followers.update([order, store.order(store.files / "other")])
            await seller.until(lambda: seller.names() == ["a"])
            (root / "b").write_text("b")
            await seller.until(lambda: seller.names() == ["a", "b"])
            (root / "sub" / "deep").mkdir()
            (root / "sub" / "deep" / "c").write_text("c")
            await seller.until(lambda: seller.names() == ["a", "b", "c"])
            before = store.catalogue.goods()[0].cid
            (root / "a").write_text("other")
            await seller.until(lambda: store.catalogue.goods()[0].cid not in (before, None))
            (root / "b").unlink()
            (root / "sub" / "deep").rename(root / "moved")
            await seller.until(lambda: seller.names() == ["a", "c"])
            assert store.catalogue.goods()[1].path == str(root / "moved" / "c")
            # The same orders again: nothing begins anew.
            runs = seller.runs
            followers.update([order])
            await asyncio.sleep(0)
            assert seller.runs == runs
            await followers.stop()

    run(main())


def test_a_directory_that_is_replaced_is_followed(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            root.mkdir()
            (root / "a").write_text("a")
            seller = Seller(store)
            followers = Followers(CONFIG, seller.sell, Faults())
            followers.update([store.order(root, each_file=True, watched=True)])
            await seller.until(lambda: seller.names() == ["a"])
            shutil.rmtree(root)
            await seller.until(lambda: seller.names() == [])
            root.mkdir()
            (root / "b").write_text("b")
            await seller.until(lambda: seller.names() == ["b"])
            (root / "c").write_text("c")
            await seller.until(lambda: seller.names() == ["b", "c"])
            await followers.stop()

    unhandled(run, main)


def unhandled(run: Run[None], main: Callable[[], object]) -> None:
    """`Faults` reports to the loop, whose handler fails a test; here a fault is what is tested."""

    async def quiet() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await main()  # type: ignore[misc]

    run(quiet())


def test_a_fault_ends_nothing(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            root = store.files / "dir"
            root.mkdir()
            seller, faults = Seller(store), Faults()
            seller.fails = True
            followers = Followers(CONFIG, seller.sell, faults)
            followers.update([store.order(root, each_file=True, watched=True)])
            await seller.until(lambda: seller.runs >= 1)
            seller.fails = False
            (root / "a").write_text("a")
            await seller.until(lambda: seller.names() == ["a"])
            assert faults.count >= 1
            await followers.stop()

    unhandled(run, main)


def test_what_is_not_followed_any_more_rests(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for name in "ab":
                (store.files / name).mkdir()
            seller = Seller(store)
            followers = Followers(CONFIG, seller.sell, Faults())
            orders = [store.order(store.files / name, each_file=True, watched=True) for name in "ab"]
            followers.update(orders)
            await seller.until(lambda: seller.runs >= 2)
            followers.update(orders[:1])
            (store.files / "b" / "x").write_text("x")
            (store.files / "a" / "y").write_text("y")
            await seller.until(lambda: "y" in seller.names())
            assert seller.names() == ["y"]
            await followers.stop()

    run(main())


def test_there_is_a_bound(tmp_path: Path, run: Run[None], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with shop(tmp_path) as store:
            for name in "abc":
                (store.files / name).mkdir()
            seller = Seller(store)
            followers = Followers(replace(CONFIG, max_watches=2), seller.sell, Faults())
            orders = [store.order(store.files / name, each_file=True, watched=True) for name in "abc"]
            for _ in range(2):
                followers.update(orders)
            await seller.until(lambda: seller.runs >= 2)
            await followers.stop()

    with caplog.at_level(logging.WARNING):
        run(main())
    assert [record.getMessage() for record in caplog.records] == [
        f"more than 2 directories are to be followed; {tmp_path}/files/c is not, nor are others"
    ]


def test_a_path_is_read_at_once_and_again_without_notice(tmp_path: Path, run: Run[None]) -> None:
    async def main() -> None:
        config = replace(CONFIG, watch_again_s=0.01)
        async with aclosing(changes_below(str(tmp_path / "none"), config)) as changes:
            for _ in range(3):
                await anext(changes)

    run(main())


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    check_watching()
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(CallerFault, match=r"fastmarket\[watch\]"):
        check_watching()
