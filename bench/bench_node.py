"""One node in a process of its own under load over TCP, Noise and Yamux: what each request costs the server.

    pytest bench/bench_node.py              each beside a server that only reads and writes as many bytes
    python -m bench.bench_node [--requests 40000] [--outstanding 64] [--new-streams] [--visits [--returning]]

What is compared is the server's CPU: it depends neither on the generator nor on who else uses the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench import load
from bench.load import Figures
from bench.processes import Served, served
from bench.ratio import Mark, report
from bench.served import CONTENT
from fastmarket.config import NodeConfig
from fastmarket.formats.varint import frame
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.offers.wire.messages import FindRequest, encode_find

KAD = NodeConfig().kad.protocol
OFFER = NodeConfig().offers.protocol
RAW = "a server that only reads and writes as many bytes"
TURNS = 3  # of each side; the cheapest counts
Run = Callable[[], Coroutine[Any, Any, Figures]]


def _pair(benchmark: BenchmarkFixture, ours: Run, ceiling: Run) -> tuple[Figures, Figures]:
    """Both in turn; the cheapest run of each."""
    found: list[tuple[Figures, Figures]] = []

    async def turn() -> tuple[Figures, Figures]:
        return await ours(), await ceiling()

    benchmark.pedantic(lambda: found.append(uvloop.run(turn())), rounds=TURNS)
    cheapest = [min(side, key=lambda figures: figures.server_cpu_us) for side in zip(*found, strict=True)]
    benchmark.extra_info["ours"] = cheapest[0].document()
    return cheapest[0], cheapest[1]


def _kept(server: Served, protocol: str, bodies: Sequence[bytes], total: int, outstanding: int = 64) -> Run:
    return lambda: load.requests(
        server.pid, server.hello["addr"], protocol, bodies, total=total, outstanding=outstanding
    )


@pytest.mark.short
@pytest.mark.parametrize(("outstanding", "total"), [(64, 20_000), (1, 2_000)])
def test_find_node_kept_streams(benchmark: BenchmarkFixture, outstanding: int, total: int) -> None:
    with served("node") as node, served("raw") as raw:
        ours, ceiling = _pair(
            benchmark,
            _kept(node, KAD, load.find_nodes(), total, outstanding),
            lambda: load.raw_requests(raw.pid, raw.hello["addr"], total=total, outstanding=outstanding),
        )
    report(benchmark, ours.server_cpu_us, ceiling.server_cpu_us, RAW)


@pytest.mark.short
def test_find_node_new_streams(benchmark: BenchmarkFixture) -> None:
    """A stream for each request, 64 at once."""
    total = 5_000
    with served("node") as node, served("raw") as raw:
        ours, ceiling = _pair(
            benchmark,
            lambda: load.requests(
                node.pid, node.hello["addr"], KAD, load.find_nodes(), total=total, outstanding=64, keep=False
            ),
            lambda: load.raw_requests(raw.pid, raw.hello["addr"], total=total, outstanding=64),
        )
    report(benchmark, ours.server_cpu_us, ceiling.server_cpu_us, RAW)


@pytest.mark.short
@pytest.mark.parametrize("protocol", ["get-providers", "offer-find"])
def test_20_offers(benchmark: BenchmarkFixture, protocol: str) -> None:
    """Both answers name 20 holders, and closer peers."""
    if protocol == "offer-find":
        name, body = OFFER, encode_find(FindRequest(CONTENT, NodeConfig().offers.find_limit))
    else:
        name, body = KAD, encode_request(Kind.GET_PROVIDERS, CONTENT)
    with served("node", "--offers", "20") as node:
        ours, ceiling = _pair(
            benchmark,
            _kept(node, name, [frame(body)], 10_000),
            _kept(node, KAD, load.find_nodes(), 10_000),
        )
    mark = Mark(1 / 1.5, "within 1.5 x of our FIND_NODE")
    report(benchmark, ours.server_cpu_us, ceiling.server_cpu_us, "our FIND_NODE", mark)


@pytest.mark.short
def test_visit(benchmark: BenchmarkFixture) -> None:
    """Connect, identify both ways, disconnect."""
    with served("node") as node, served("raw") as raw:
        ours, ceiling = _pair(
            benchmark,
            lambda: load.visits(node.pid, node.hello["addr"], total=200),
            lambda: load.raw_visits(raw.pid, raw.hello["addr"], total=200),
        )
    report(benchmark, ours.server_cpu_us, ceiling.server_cpu_us, "accept, read, write, close")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--outstanding", type=int, default=64)
    parser.add_argument("--new-streams", action="store_true", help="a stream for each request")
    parser.add_argument("--visits", action="store_true", help="connections instead of requests")
    parser.add_argument("--returning", action="store_true", help="all of them the same peer's")
    given = parser.parse_args()
    with served("node") as node:
        if given.visits:
            run = load.visits(node.pid, node.hello["addr"], total=given.requests, returning=given.returning)
        else:
            run = load.requests(
                node.pid,
                node.hello["addr"],
                KAD,
                load.find_nodes(),
                total=given.requests,
                outstanding=given.outstanding,
                keep=not given.new_streams,
            )
        for name, value in uvloop.run(run).document().items():
            print(f"{name:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
