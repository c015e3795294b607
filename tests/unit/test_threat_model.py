"""The threat model names tests that exist, and says something of every kind of actor."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.sources import nodes_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
NAMED = re.compile(r"`([\w/.]+\.py)::(\w+)`")
ACTORS = ("A compromised peer", "Callers", "A writer of the shared store", "The page", "Seller and buyer")


def rows() -> list[list[str]]:
    """Cells of each row of the review."""
    text = PAGE.read_text().partition("## Capabilities")[2].partition("## Parsers")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[-1] not in ("shown by", "---")]


def functions_of(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in nodes_of(path) if isinstance(node, functions)}


def test_every_row_names_tests_that_exist() -> None:
    assert len(rows()) > 30
    for row in rows():
        named = NAMED.findall(row[-1])
        assert named, row
        # Nothing else stands in that cell, so that no name is overlooked for its spelling.
        assert re.sub(r"[\s,]", "", NAMED.sub("", row[-1])) == "", row[-1]
        for place, name in named:
            path = ROOT / "tests" / place
            assert path.is_file(), place
            assert name.startswith("test_"), name
            assert name in functions_of(path), f"{place}::{name}"


def test_every_actor_has_rows() -> None:
    text = PAGE.read_text()
    for actor in ACTORS:
        section = text.partition(f"### {actor}\n")[2].partition("###")[0]
        assert NAMED.search(section), actor
