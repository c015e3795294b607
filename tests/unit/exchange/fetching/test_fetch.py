"""A fetch against honest holders: it is whole, in order where that is asked, and asks each block once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.events import Ask, FetchFailed, FetchFinished, Planned, Verified, Write
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import FetchHolder
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


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"span": (5, 4)}, "span"),
        ({"span": (0, -1)}, "span"),
        ({"kept": [(5, 4)]}, "kept"),
        ({"kept": [(0, 4)], "in_order": True}, "kept"),
    ],
)
def test_arguments_that_make_no_sense_are_the_callers(options: dict[str, object], field: str) -> None:
    root = Blocks().file(b"x")
    with pytest.raises(CallerFault) as caught:
        Fetch(root, CONFIG, START, **options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_span_behind_the_end_is_the_callers() -> None:
    dag = Blocks()
    run = FetchRun(Fetch(dag.file(b"abc"), CONFIG, START, span=(4, None)), dag.blocks, [VirtualHolder(1)])
    end = run.start().run()
    assert isinstance(end, FetchFailed)
    assert isinstance(end.fault, CallerFault)
    assert end.fault.field == "span"


def test_a_block_that_the_file_repeats_is_fetched_once_and_read_back_later() -> None:
    """Far apart, so that it is not in memory any more."""
    dag = Blocks()
    data = b"A" * 16 + content(4096) + b"A" * 16
    config = replace(CONFIG, max_recent_bytes=0, max_ahead_bytes=64)
    run = FetchRun(Fetch(dag.file(data), config, START), dag.blocks, [VirtualHolder(1)], source=data)
    end = run.start().run()
    assert isinstance(end, FetchFinished)
    assert bytes(run.file) == data
    assert run.reads == 1
    assert end.fetched_bytes == len(data) - 16


def test_a_copy_that_is_spoilt_on_the_disk_is_fetched_again() -> None:
    dag = Blocks()
    data = b"A" * 16 + content(4096) + b"A" * 16
    config = replace(CONFIG, max_recent_bytes=0, max_ahead_bytes=64)
    run = FetchRun(Fetch(dag.file(data), config, START), dag.blocks, [VirtualHolder(1)], source=data)
    run.start().go(9.0, until_verified=1000)
    run.file[0] ^= 1
    run.delivered.clear()
    assert isinstance(run.run(), FetchFinished)
    assert bytes(run.file[1:]) == data[1:]


def test_a_reader_that_is_slow_holds_the_fetch_back() -> None:
    dag = Blocks()
    data = content(20_000)
    config = replace(CONFIG, max_ordered_bytes=1000)
    holders = [VirtualHolder(key, rate=1e9) for key in range(4)]
    fetch = Fetch(dag.file(data), config, START, in_order=True)
    run = FetchRun(fetch, dag.blocks, holders, source=data, write_s=0.5).start()
    run.run()
    assert bytes(run.file) == data
    assert run.max_unwritten <= 1016


def test_a_file_that_is_written_slowly_holds_the_fetch_back_and_nothing_is_asked_twice_for_it() -> None:
    """What is not written is lost with the process."""
    dag = Blocks()
    data = content(10_000)
    config = replace(CONFIG, max_unwritten_bytes=64, min_window=2, max_window=2)
    holders = [VirtualHolder(key, rate=1e9, rtt_s=0.01 * key) for key in range(1, 4)]
    run = FetchRun(Fetch(dag.file(data), config, START), dag.blocks, holders, source=data, write_s=0.5)
    assert isinstance(run.start().run(), FetchFinished)
    assert bytes(run.file) == data
    # What was under way already comes all the same.
    assert run.max_unwritten <= 64 + sum(CONFIG.first_window for _ in holders) * 16
    # Except for the last ones, which are taken over from the slower holders.
    last = run.now - 2 * run.write_s
    assert all(run.asked[ask.cid] == 1 for when, ask in run.asks if when < last)


def test_blocks_may_come_in_other_buffers() -> None:
    dag = Blocks()
    fetch = Fetch(dag.file(b"hello"), CONFIG, START)
    fetch.add_holder(FetchHolder(1), START)
    (ask,) = fetch.poll_actions(START)
    assert isinstance(ask, Ask)
    fetch.handle_block(ask.request, memoryview(bytearray(dag.blocks[ask.cid])), START)
    (write,) = fetch.poll_actions(START)
    assert isinstance(write, Write)
    assert bytes(write.data) == b"hello"
