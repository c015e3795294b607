"""Fetches from random crowds of holders: whole and right, or failed with reasons; never a wrong byte.

`FetchRun` checks on the way that each write is right, no block is asked of a third at once, and nothing that
is verified is asked for again.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.events import FetchFailed, FetchFinished, Verified
from fastmarket.exchange.fetching.faults import NoHolderServes
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import HolderEnd
from fastmarket.formats.price import cost_of
from tests.virtual.dags import Blocks
from tests.virtual.fetching import START, FetchRun, Nature, VirtualHolder

CONFIG = FetchConfig()
GOOD = (Nature.HONEST, Nature.BUSY)
# Why a holder of each nature may end; any of them may be too slow for every timeout.
MAY_END = {
    Nature.LIAR: HolderEnd.WRONG_BLOCK,
    Nature.LACKING: HolderEnd.MISSING,
    Nature.REFUSING: HolderEnd.REFUSED,
    Nature.BROKEN: HolderEnd.UNREACHABLE,
}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Some with parts that repeat."""
    parts = draw(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 12)), max_size=30))
    return b"".join(part * times for part, times in parts)


@st.composite
def crowds(draw: st.DrawFn) -> list[VirtualHolder]:
    natures = draw(st.lists(st.sampled_from(Nature), max_size=8))
    return [
        VirtualHolder(
            key,
            nature,
            price=draw(st.sampled_from((0, 1, 5, 1000))),
            rtt_s=draw(st.sampled_from((0.001, 0.02, 0.3))),
            rate=draw(st.sampled_from((100.0, 10_000.0, 1e7))),
            leaves_after=draw(st.integers(1, 20)),
        )
        for key, nature in enumerate(natures)
    ]


def with_gaps(draw: st.DrawFn, dag: Blocks, crowd: list[VirtualHolder]) -> None:
    """What the lacking ones lack."""
    cids = sorted(dag.blocks)
    for one in crowd:
        if one.nature is Nature.LACKING:
            one.lacks = frozenset(draw(st.sets(st.sampled_from(cids))))


@settings(max_examples=300, deadline=None)
@given(st.data(), files(), crowds(), st.booleans(), st.booleans())
def test_a_fetch_is_whole_or_says_who_failed(
    data: st.DataObject, source: bytes, crowd: list[VirtualHolder], raw: bool, in_order: bool
) -> None:
    dag = Blocks(raw_leaves=raw)
    root = dag.file(source, chunk=data.draw(st.sampled_from((4, 16))), width=data.draw(st.integers(2, 5)))
    with_gaps(data.draw, dag, crowd)
    config = replace(
        CONFIG,
        max_ahead_bytes=data.draw(st.sampled_from((1, 64, 10_000))),
        max_unwritten_bytes=data.draw(st.sampled_from((1, 64, 10_000))),
        max_ordered_bytes=data.draw(st.sampled_from((1, 64, 10_000))),
        max_ahead_leaves=data.draw(st.sampled_from((1, 3, 100))),
        max_known_leaves=data.draw(st.sampled_from((1, 8, 100))),
        max_inner_requests=data.draw(st.sampled_from((1, 16))),
        # What a reader has taken cannot be read back: only there a block may come again.
        max_recent_bytes=10_000 if in_order else data.draw(st.sampled_from((0, 40, 10_000))),
    )
    run = FetchRun(Fetch(root, config, START, in_order=in_order), dag.blocks, crowd, source=source).start()
    end = run.run()
    ends = run.ends()
    for key, reason in ends.items():
        assert reason in (HolderEnd.SILENT, MAY_END.get(run.holders[key].nature))
    delivered = {tally.key: tally for tally in end.holders}
    assert {key for key, tally in delivered.items() if tally.ended} == set(ends)
    for key, tally in delivered.items():
        assert tally.cost == cost_of(tally.bytes, run.holders[key].price)
        assert run.holders[key].nature is not Nature.LIAR or tally.bytes == 0
    if isinstance(end, FetchFinished):
        assert bytes(run.file) == source
        assert sum(one.length for one in run.of(Verified)) == end.file_bytes == len(source)
        assert sum(tally.bytes for tally in delivered.values()) == end.fetched_bytes <= len(source)
        assert set(run.asked) <= set(dag.blocks)
    else:
        assert isinstance(end.fault, NoHolderServes)
        assert {key for key, _ in end.fault.why} == set(run.holders)
        assert end.fault.missing
    if in_order:
        assert run.order == sorted(run.order)
        assert run.max_unwritten <= config.max_ordered_bytes + 16
    if any(one.nature in GOOD and one.rate > 1000 for one in crowd):
        assert isinstance(end, FetchFinished)


@settings(max_examples=100, deadline=None)
@given(st.data(), files(), crowds(), st.integers(0, 3))
def test_a_fetch_never_costs_more_than_allowed(
    data: st.DataObject, source: bytes, crowd: list[VirtualHolder], most: int
) -> None:
    dag = Blocks()
    root = dag.file(source)
    run = FetchRun(Fetch(root, CONFIG, START, max_cost=most), dag.blocks, crowd, source=source).start()
    end = run.run()
    assert end.cost <= most
    if isinstance(end, FetchFailed):
        assert isinstance(end.fault, NoHolderServes | CallerFault)
    if any(one.nature in GOOD and not one.price and one.rate > 1000 for one in crowd):
        assert isinstance(end, FetchFinished)


@settings(max_examples=100, deadline=None)
@given(st.data(), files(), st.booleans())
def test_what_an_earlier_run_wrote_is_not_fetched_again(
    data: st.DataObject, source: bytes, raw: bool
) -> None:
    dag = Blocks(raw_leaves=raw)
    root = dag.file(source)
    first = FetchRun(Fetch(root, CONFIG, START), dag.blocks, [VirtualHolder(1, rate=1000.0)], source=source)
    first.start().go(1000.0, until_verified=data.draw(st.integers(0, len(source))))
    kept = [(offset, min(offset + 16, len(source))) for offset in first.order[: first.writes]]
    torn = bytearray(first.file)
    spoilt = data.draw(st.sets(st.integers(0, max(len(torn) - 1, 0)), max_size=2)) if torn else set()
    for at in spoilt:
        torn[at] ^= 1
    again = FetchRun(
        Fetch(root, CONFIG, START, kept=kept), dag.blocks, [VirtualHolder(1)], source=source, kept=bytes(torn)
    )
    end = again.start().run()
    assert isinstance(end, FetchFinished)
    assert bytes(again.file) == source
    whole = [one for one in kept if not any(one[0] <= at < one[1] for at in spoilt)]
    assert end.kept_bytes == sum(stop - begin for begin, stop in whole)
    leaves = {cid for cid, block in dag.blocks.items() if len(dag.blocks) > 1 and cid in again.asked}
    assert end.fetched_bytes <= len(source) - end.kept_bytes
    assert leaves <= set(dag.blocks)
