"""What the planner of a fetch costs for each block, besides hashing it: `pytest bench/bench_fetching.py`.

A driver in a loop answers each request in its turn, out of memory, and acknowledges each write at once: what
is measured is the planner and this loop. Hashing the same blocks, which the planner does as well, is measured
by itself and taken off. Blocks are small, so that little is taken off.
"""

from __future__ import annotations

import time
from collections import deque

import pytest

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.events import Ask, Drop, Write
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import FetchHolder
from fastmarket.formats.block import verify_block
from fastmarket.formats.cid import Cid
from tests.virtual.dags import Blocks

BLOCKS = 8192
BLOCK_BYTES = 4096
LINKS = 174
MAX_US = 30.0  # of one core, per block


def file_of(raw: bool) -> tuple[Blocks, Cid]:
    dag = Blocks(raw_leaves=raw)
    data = b"".join(number.to_bytes(8, "big") * (BLOCK_BYTES // 8) for number in range(BLOCKS))
    return dag, dag.file(data, chunk=BLOCK_BYTES, width=LINKS)


def fetch_all(dag: Blocks, root: Cid, holders: int, *, in_order: bool) -> None:
    """One fetch; virtual time goes on by 0.1 ms with each answer."""
    now, queue = 0.0, deque()
    fetch = Fetch(root, FetchConfig(), now, in_order=in_order)
    for key in range(holders):
        fetch.add_holder(FetchHolder(key, 1), now)
    fetch.no_more_holders(now)
    dropped = set()
    blocks = dag.blocks
    while True:
        for action in fetch.poll_actions(now):
            if type(action) is Ask:
                queue.append(action)
            elif type(action) is Write:
                fetch.handle_written(action.leaf, None, now)
            elif type(action) is Drop:
                dropped.add(action.request)
        fetch.poll_events()
        if fetch.ended:
            break
        fetch.next_timer()
        if queue:
            now += 0.0001
            ask = queue.popleft()
            if ask.request not in dropped:
                fetch.handle_block(ask.request, blocks[ask.cid], now)
    assert fetch.verified_bytes == BLOCKS * BLOCK_BYTES


def hash_all(dag: Blocks) -> None:
    for cid, block in dag.blocks.items():
        assert verify_block(cid, block)


def least_s(function, *args, **options) -> float:
    """CPU seconds, of three runs the least."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function(*args, **options)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("in_order", [False, True], ids=["file", "in order"])
@pytest.mark.parametrize("raw", [False, True], ids=["dag-pb", "raw"])
@pytest.mark.parametrize("holders", [1, 4, 20])
def test_the_planner_costs_little_for_each_block(holders: int, raw: bool, in_order: bool) -> None:
    dag, root = file_of(raw)
    whole = least_s(fetch_all, dag, root, holders, in_order=in_order)
    hashing = least_s(hash_all, dag)
    each = (whole - hashing) / BLOCKS * 1e6
    own = hashing / BLOCKS * 1e6
    print(f"\n{holders} holders: {each:.1f} us a block, besides {own:.1f} us to hash it")
    assert each < MAX_US
