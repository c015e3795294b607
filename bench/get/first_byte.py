"""From the call until the first verified byte, beside one round trip of HTTP to the same seller.

Over loopback, and through a line on which each way takes 25 ms: there round trips count, not processors.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

from bench.get.nodes import SELLER, Network, sell
from bench.get.reader import Reader
from bench.get.row import middle, row, share
from bench.get.setting import Setting
from bench.local_network import Report
from bench.processes import started
from fastmarket.cli.processes import ServerProcess
from fastmarket.market.grpc_client import MarketClient

TIMES = 20
DELAY_S = 0.025
LIMIT = 4.0
ROOT = Path(__file__).parent.parent.parent


def measure(setting: Setting) -> Report:
    """The buyer's node knows the holders: it stores their offers itself."""
    figures: dict[str, object] = {}
    marks = []
    for name, delay_s in (("loopback", 0.0), ("25 ms each way", DELAY_S)):
        with setting.network() as network:
            trip, first = _measured(setting, network, delay_s)
        figures[f"{name}: round trip, ms"] = round(trip * 1000, 2)
        figures[f"{name}: first verified byte, ms"] = round(first * 1000, 2)
        marks.append(share(f"time to the first verified byte, {name}, of a round trip", first / trip, LIMIT))
    return row("time to the first verified byte", figures, marks)
