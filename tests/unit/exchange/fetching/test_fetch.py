"""A fetch against honest holders: it is whole, in order where that is asked, and asks each block once."""

from __future__ import annotations

import pytest

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.events import FetchFinished, Planned, Verified
from fastmarket.exchange.fetching.fetch import Fetch
from tests.virtual.dags import Blocks
from tests.virtual.fetching import START, FetchRun, VirtualHolder

CONFIG = FetchConfig()


def content(size: int) -> bytes:
    """Bytes of which no 16 are the same."""
    return b"".join(number.to_bytes(8, "big") for number in range(-(-size // 8)))[:size]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("size", [0, 1, 16, 17, 64, 65, 1000, 10_000])
@pytest.mark.parametrize("in_order", [False, True])
def test_a_file_comes_whole_and_each_block_is_asked_once(size: int, raw: bool, in_order: bool) -> None:
    dag = Blocks(raw_leaves=raw)
    data = content(size)
    root = dag.file(data)
    holders = [VirtualHolder(key) for key in range(3)]
    fetch = Fetch(root, CONFIG, START, in_order=in_order)
    run = FetchRun(fetch, dag.blocks, holders, source=data).start()
    end = run.run()
    assert isinstance(end, FetchFinished)
    assert end.file_bytes == end.fetched_bytes == size
    assert bytes(run.file) == data
    assert set(run.asked) == set(dag.blocks)
    if in_order:
        assert run.order == sorted(run.order)
    planned = run.of(Planned)[0]
    assert isinstance(planned, Planned)
    assert (planned.cid, planned.file_bytes, planned.first, planned.end) == (root, size, 0, size)
    assert sum(one.length for one in run.of(Verified)) == size


@pytest.mark.parametrize(
    "span", [(0, 1), (5, 40), (16, 32), (999, None), (-7, None), (0, 0), (1000, None), (990, 5000)]
)
@pytest.mark.parametrize("in_order", [False, True])
def test_a_span_is_exactly_what_is_written(span: tuple[int, int | None], in_order: bool) -> None:
    dag = Blocks()
    data = content(1000)
    root = dag.file(data)
    fetch = Fetch(root, CONFIG, START, span=span, in_order=in_order)
    run = FetchRun(fetch, dag.blocks, [VirtualHolder(1)], source=data).start()
    end = run.run()
    assert isinstance(end, FetchFinished)
    wanted = data[slice(*span)]
    first = 1000 - len(wanted) if span[0] < 0 else span[0]
    assert bytes(run.file[first:]) == wanted
    assert len(run.asked) <= 2 + 4 + len(wanted) // 16 + len(wanted) // 64 + 4
