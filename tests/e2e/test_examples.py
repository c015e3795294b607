"""The examples run as they stand, and their imports are of public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastmarket
from fastmarket import config
from tests.sources import nodes_of

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "whole_node.py": "Ann sells it at 192.0.2.1:9001 for 3 per MB",
    "dht_alone.py": "at 192.0.2.1:9001",
    "name_a_file.py": "name_a_file.py",
    "call_by_reflection.py": "services: fastmarket.v1.Market grpc.health.v1.Health",
}
DEADLINE_S = 60


def test_every_example_is_named_and_tried() -> None:
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert files == set(SAYS)
    page = (EXAMPLES / "README.md").read_text()
    assert all(f"]({name})" in page for name in files)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_it_runs(name: str) -> None:
    command = [sys.executable, "-W", "error::RuntimeWarning", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert SAYS[name] in done.stdout


@pytest.mark.parametrize("name", sorted(SAYS))
def test_it_uses_public_names_alone(name: str) -> None:
    public = {"fastmarket": fastmarket.__all__, "fastmarket.config": config.__all__}
    for node in nodes_of(EXAMPLES / name):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastmarket"):
            assert {alias.name for alias in node.names} <= set(public[node.module or ""])
