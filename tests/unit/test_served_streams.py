"""Every protocol whose streams a program handles has its own bounds, and a time for a whole message."""

from __future__ import annotations

import re
from pathlib import Path

from fastmarket.config.bitswap import BitswapConfig
from fastmarket.net.bitswap.inbound import Inbound
from fastmarket.net.tab_streams import BOUNDS

SOURCES = Path(__file__).parents[2] / "src" / "fastmarket"
_SERVES = re.compile(r"streams\.serve\(([^()]*)\)")


def test_each_served_protocol_states_its_shares() -> None:
    found = [
        (source.name, call.group(1).count(","))
        for source in SOURCES.rglob("*.py")
        for call in _SERVES.finditer(source.read_text())
    ]
    assert sorted(found) == [("exchange.py", 2), ("tab_streams.py", 2)]


def test_each_has_a_time_for_a_whole_message_and_shares_in_order() -> None:
    for bounds in (BOUNDS, Inbound(BitswapConfig(), lambda peer, message: None).shares.bounds):
        assert 0 < bounds.per_peer < bounds.per_block < bounds.total
        assert bounds.message_s > 0
