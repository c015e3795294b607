"""A thousand buyers and two hundred sellers in virtual time: the scenario `fetching` of `fastmarket.sim`."""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.get.commands import run
from bench.get.row import row
from bench.get.setting import Setting
from bench.local_network import Mark, Report

DEADLINE_S = 3600.0


def measure(setting: Setting) -> Report:
    """The scenario has marks of its own."""
    words = [sys.executable, "-m", "fastmarket.sim", "--scenario", "fetching", "--json", "-"]
    found = json.loads(run(words, DEADLINE_S).stdout)
    figures: dict[str, object] = {
        f"{section}, {name}": value
        for section, values in found["sections"].items()
        for name, value in values.items()
    }
    marks = [_mark(told) for told in found["marks"]]
    return row("simulated: 1,000 buyers, 200 sellers, a fifth of them leaves", figures, marks)


def _mark(told: dict[str, Any]) -> Mark:
    relation, bound = told["wanted"].split()
    return Mark(told["mark"], told["measured"], float(bound), "", least=relation == ">=")
