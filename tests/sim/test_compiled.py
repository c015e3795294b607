"""The compiled engine does what the interpreted one does: the same messages at the same moments.

`make compiled` makes it. What it was made of is in its directory: sources changed since are not looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / ".make" / "compiled"
PACKAGES = ("config", "core", "formats", "kad", "offers", "sim")


def is_current() -> bool:
    """Made of the sources as they are now."""
    return all(
        (copy := COMPILED / source.relative_to(ROOT / "src")).exists()
        and copy.read_bytes() == source.read_bytes()
        for package in PACKAGES
        for source in (ROOT / "src" / "fastmarket" / package).rglob("*.py")
    )


pytestmark = pytest.mark.skipif(not is_current(), reason="not made of these sources: make compiled")


def report(path: Path, scenario: str) -> Any:
    """All figures of a small run, but what it cost."""
    sizes = ["--nodes", "200", "--lookups", "40", "--offers", "10", "--finds", "40"]
    command = [
        sys.executable,
        "-m",
        "fastmarket.sim",
        "--scenario",
        scenario,
        *sizes,
        "--wire",
        "--json",
        "-",
    ]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=path)
    figures = json.loads(done.stdout)
    del figures["cost"]
    return figures


@pytest.mark.parametrize("scenario", ["static", "dead20", "loss5", "clients", "hostile"])
def test_it_sends_the_same_messages(scenario: str) -> None:
    assert report(COMPILED, scenario) == report(ROOT / "src", scenario)


def test_it_is_compiled() -> None:
    command = [sys.executable, "-c", "import fastmarket.kad.engine as engine; print(engine.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(COMPILED)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=COMPILED)
    assert not done.stdout.decode().strip().endswith(".py")
