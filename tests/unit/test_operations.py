"""docs/operations.md tells of every metric and every log line that there is, and of no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fastmarket.config import ContentConfig, FleetConfig, NodeConfig
from fastmarket.fleet.dht import FleetDht, shared_store
from fastmarket.formats.identity import Identity
from fastmarket.net.dht_node import DhtNode
from fastmarket.node_content import selling
from fastmarket.node_fetching import fetching
from fastmarket.payments.reasons import Reason
from fastmarket.settlement.interface import SettlementStatus
from fastmarket.settlement.settler import SettlementReport
from fastmarket.web.content_metrics import FetchingState, SellingState
from fastmarket.web.fleet_metrics import FleetState
from fastmarket.web.metrics import CountingTrace, NodeMetrics
from fastmarket.web.payment_metrics import PaymentState
from tests.conftest import Run
from tests.sources import nodes_of
from tests.virtual.payments import START, VirtualBuyer, VirtualSeller

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
PLACEHOLDER = re.compile(r"(?:%[-+ #0]*\d*(?:\.\d+)?[a-z])+")
TOLD = frozenset({"info", "warning", "error", "critical"})


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


async def real_metrics() -> dict[str, tuple[str, ...]]:
    """Every family of ours as Prometheus names it, with its labels, of a server of a fleet that sells."""
    config = NodeConfig(fleet=FleetConfig(store="redis://127.0.0.1:1"), content=ContentConfig(port=0))
    node = DhtNode(Identity.from_seed(bytes(32)), config)
    fleet = FleetDht(node, shared_store(config), config)
    try:
        metrics = NodeMetrics(node, CountingTrace())
        async with (
            selling(node, fleet, config, None) as sold,
            fetching(node, fleet, config, sold, None) as got,
        ):
            selling_state = SellingState(sold.shop, sold.catalogue, sold.port.tally)
            seller, buyer = VirtualSeller(), VirtualBuyer()
            seller.tabs.refused[Reason.HOUR] += 1
            settled = SettlementReport(SettlementStatus("bank", ""), 1, 2, {"expired": 3}, None)
            paying = PaymentState(seller.tabs, buyer.tabs, lambda: START, lambda: settled)
            fetching_state = FetchingState(got.fetcher, got.bitswap)
            for state in (FleetState(fleet), selling_state, paying, fetching_state):
                metrics.registry.register(state)
            found = {}
            for family in metrics.registry.collect():
                total = "_total" if family.type == "counter" else ""
                if family.name.startswith("fastmarket"):
                    found[f"{family.name}{total}"] = tuple(getattr(family, "_labelnames", ()))
            return found
    finally:
        await node.close()
        await fleet.close()


def told_metrics() -> dict[str, frozenset[str]]:
    rows = re.findall(r"^\| `(fastmarket_\w+)` \| ([^|]*)\|", section("Metrics"), re.MULTILINE)
    return {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_every_metric_is_told_of(run: Run[dict[str, tuple[str, ...]]]) -> None:
    assert set(run(real_metrics())) == set(told_metrics())


def test_their_labels_are_right(run: Run[dict[str, tuple[str, ...]]]) -> None:
    told = told_metrics()
    for name, labels in run(real_metrics()).items():
        if labels:
            assert told[name] == set(labels), name


def real_lines() -> Iterator[tuple[str, str]]:
    for path in (ROOT / "src" / "fastmarket").rglob("*.py"):
        for node in nodes_of(path):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            whose = node.func.value
            if node.func.attr in TOLD and isinstance(whose, ast.Name) and whose.id in ("log", "logger"):
                assert isinstance(node.args[0], ast.Constant), f"{path}: a message is a constant"
                yield node.func.attr, PLACEHOLDER.sub("…", str(node.args[0].value))


def test_every_log_line_is_told_of() -> None:
    told = set(re.findall(r"^\| (\w+) `([^`]*)` \|", section("Log lines"), re.MULTILINE))
    assert set(real_lines()) == told


def test_what_it_points_to_is_there() -> None:
    for place in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / place).exists(), place


def test_lines_that_other_pages_quote_are_real() -> None:
    lines = [re.compile(re.escape(line).replace("…", ".+")) for _, line in real_lines()]
    beginnings = {line.partition("…")[0].rstrip(" :") for _, line in real_lines()} - {""}
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text()
        for quoted in re.findall(r"^.*(?:INFO|WARNING|ERROR) +fastmarket[.\w]*: (.+)$", text, re.MULTILINE):
            assert any(line.fullmatch(quoted) for line in lines), f"{page}: {quoted}"
        for start in re.findall(r"`([^`\n]+?):? \.\.\.` in (?:its|the) log", text):
            assert start in beginnings, f"{page}: {start}"
