"""No symlink leads out of what is sold, not even one that takes a directory's place meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmarket.content import walk as walking
from fastmarket.content.importing import PathRefused
from fastmarket.content.leaves import opened_file, small_files
from fastmarket.content.records import GoodPut
from fastmarket.content.walk import Walk, Walked, WalkStep
from fastmarket.errors import CallerFault, Forbidden
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from tests.conftest import Run
from tests.content.shop import listed, shop


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory to sell, and a secret beside it."""
    for name in ("files/dir/sub/a", "files/dir/b", "secret/sub/a", "secret/key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def walked(root: Path, **options: object) -> list[tuple[str, str]]:
    refused: list[tuple[str, str]] = []
    walk = Walk(
        lambda path, why: refused.append((os.path.relpath(path, root), why)),
        hidden=True,
        max_depth=9,
        may_sell=lambda path: None,
    )
    found = [(one.step.name, os.path.relpath(one.path, root)) for one in walk.below(str(root))]
    return [*found, *refused]


def test_links_are_not_followed(shelf: Path) -> None:
    root = shelf / "files" / "dir"
    (root / "out").symlink_to(shelf / "secret")
    (root / "sub" / "key").symlink_to(shelf / "secret" / "key")
    (root / "up").symlink_to("..")
    assert walked(root) == [
        ("FILE", "b"),
        ("LINK", "out"),
        ("ENTER", "sub"),
        ("FILE", "sub/a"),
        ("LINK", "sub/key"),
        ("LEAVE", "sub"),
        ("LINK", "up"),
    ]


def test_a_directory_that_becomes_a_link_is_not_entered(shelf: Path) -> None:
    root = shelf / "files" / "dir"
    walk = Walk(lambda path, why: refused.append((path, why)), hidden=True, max_depth=9, may_sell=str)
    refused: list[tuple[str, str]] = []
    steps = walk.below(str(root))
    assert next(steps).name == "b"
    # It was seen as a directory, and is listed later.
    (root / "sub").rename(root / "kept")
    (root / "sub").symlink_to(shelf / "secret" / "sub")
    assert list(steps) == []
    assert refused == [(str(root / "sub"), refused[0][1])]


def test_a_path_above_that_becomes_a_link_leads_nowhere(shelf: Path) -> None:
    root = shelf / "files" / "dir"
    path = root / "sub" / "a"
    with opened_file(str(path)):
        pass
    (root / "sub").rename(root / "kept")
    (root / "sub").symlink_to(shelf / "secret" / "sub")
    with pytest.raises(CallerFault, match="leads elsewhere"), opened_file(str(path)):
        pass
    (result,) = small_files([str(path)], UNIXFS_V0_2015)
    assert isinstance(result, CallerFault)


def test_an_exchange_during_the_walk_brings_nothing_out(
    shelf: Path, run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shelf / "files" / "dir"
    real = walking.Walk.below
    walks: list[str] = []

    def exchanging(self: Walk, path: str) -> Iterator[Walked]:
        """Between the walk that lists and the read of what it listed; the first walk only counts."""
        found = list(real(self, path))
        walks.append(path)
        if len(walks) == 2:
            (root / "sub").rename(root / "kept")
            (root / "sub").symlink_to(shelf / "secret" / "sub")
        yield from found

    async def main() -> None:
        with shop(shelf) as store:
            monkeypatch.setattr(walking.Walk, "below", exchanging)
            events = await store.sell(root)
            refused = [event.path for event in events if isinstance(event, PathRefused)]
            monkeypatch.undo()
            (put,) = (event for event in events if isinstance(event, GoodPut))
            assert put.good.cid is not None
            assert list(listed(store.catalogue, put.good.cid)) == ["b"]
            assert refused == [str(root / "sub" / "a")]

    run(main())


def test_what_may_not_be_sold_is_left_out_of_what_may(shelf: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(shelf) as store:
            with pytest.raises(Forbidden, match="belongs to the node"):
                await store.sell(shelf / "data")
            events = await store.sell(shelf, each_file=True)
            assert [event.path for event in events if isinstance(event, PathRefused)] == [str(shelf / "data")]
            sold = [event.good.path for event in events if isinstance(event, GoodPut)]
            names = ("files/dir/b", "files/dir/sub/a", "secret/key", "secret/sub/a")
            assert sold == [str(shelf / name) for name in names]

    run(main())


def test_an_order_for_what_is_not_allowed_is_refused(shelf: Path, run: Run[None]) -> None:
    async def main() -> None:
        with shop(shelf, allow=(str(shelf / "files"),)) as store:
            with pytest.raises(Forbidden, match=str(shelf / "secret")):
                await store.sell(shelf / "secret")
            (put,) = await store.sell(shelf / "files" / "dir")
            assert isinstance(put, GoodPut)

    run(main())


def test_a_file_that_becomes_a_pipe_keeps_nobody_waiting(shelf: Path) -> None:
    path = shelf / "pipe"
    os.mkfifo(path)
    (result,) = small_files([str(path)], UNIXFS_V0_2015)
    assert isinstance(result, CallerFault)
    assert "not a regular file" in result.reason


def test_depth_is_bounded(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    refused: list[str] = []
    walk = Walk(lambda path, _: refused.append(path), hidden=True, max_depth=2, may_sell=str)
    steps = [one.step for one in walk.below(str(tmp_path))]
    assert steps == [WalkStep.ENTER, WalkStep.ENTER, WalkStep.LEAVE, WalkStep.LEAVE]
    assert refused == [str(deep)]
