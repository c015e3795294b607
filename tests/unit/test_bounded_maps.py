"""Maps with a bound are `BoundedMap`s, so that none is forgotten and none is slow."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "fastmarket"
# What removes the first entry of a map.
_BY_HAND = re.compile(r"popitem\(last=False\)|del [\w.]+\[next\(iter\(|\w\(.*next\(iter\(self")
# Files that do, and why no `BoundedMap` serves there.
_MAY = {
    "bounded_map.py": "it is the one",
    "offers/announce/delivery.py": "a queue of storers, bounded by what is queued for them",
    "libp2p/peerstore.py": "two classes of peers share one bound",
    "kad/routing/full_table.py": "the oldest has to leave the table first, or a newcomer finds no room there",
    "core/durability.py": "a queue of commands by ticket, bounded by the commands under way",
    "content/port/budget.py": "a queue of connections that take turns, bounded by their number",
    "market/sharing.py": "a queue of callers that take turns",
}


def test_no_map_is_bounded_by_hand() -> None:
    found = {
        source.relative_to(SOURCES).as_posix()
        for source in SOURCES.rglob("*.py")
        if _BY_HAND.search(source.read_text())
    }
    assert found == set(_MAY)
