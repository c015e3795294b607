"""A file with a price from one seller: with receipts, and given away without `--payments`, in turns."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.get.commands import processor_s
from bench.get.nodes import SELLER, Network, get, sell
from bench.get.row import rounded, row, share
from bench.get.setting import GIB, Setting
from bench.local_network import Report
from fastmarket.cli.processes import ServerProcess

PRICE = 3
LIMIT = 1 / 0.97  # of the time that it takes without receipts


@dataclass
class _Pair:
    """A seller and a buyer, and what each fetch of theirs took."""

    seller: ServerProcess
    buyer: ServerProcess
    cid: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def measure(setting: Setting) -> Report:
    """From the start of the command to its end, the file being on disk; and the CPU of both nodes."""
    with ExitStack() as stack:
        networks = [stack.enter_context(setting.network()) for _ in range(2)]
        pairs = [_pair(setting, networks[0]), _pair(setting, networks[1], "--payments")]
        for _ in range(setting.turns):
            for network, pair in zip(networks, pairs, strict=True):
                _fetch(setting, network, pair)
        for network in networks:
            network.check_logs()
    without, paid = pairs
    figures: dict[str, object] = {
        "with receipts, s": rounded(paid.wall_s),
        "without, s": rounded(without.wall_s),
        "with receipts, both nodes, CPU-s/GiB": rounded(map(setting.per_gib, paid.cpu_s)),
        "without, both nodes, CPU-s/GiB": rounded(map(setting.per_gib, without.cpu_s)),
        "with receipts, GiB/s": rounded([setting.size / GIB / min(paid.wall_s)]),
    }
    marks = [
        share("time with receipts, of the same without", min(paid.wall_s) / min(without.wall_s), LIMIT),
        share("CPU with receipts, of the same without", min(paid.cpu_s) / min(without.cpu_s), LIMIT),
    ]
    return row("a priced file, one seller", figures, marks)


def _pair(setting: Setting, network: Network, *options: str) -> _Pair:
    seller = network.start(*SELLER, *options)
    cid = sell(seller, setting.path, PRICE)
    return _Pair(seller, network.start(*options), cid)


def _fetch(setting: Setting, network: Network, pair: _Pair) -> None:
    output = network.directory / "got"
    nodes = pair.seller.process.pid, pair.buyer.process.pid
    before = sum(map(processor_s, nodes))
    pair.wall_s.append(get(pair.buyer, pair.cid, output).wall_s)
    pair.cpu_s.append(sum(map(processor_s, nodes)) - before)
    setting.check_got(output)
