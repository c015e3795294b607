"""No module imports itself by way of others: each can be read, and moved, after those that it stands on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.sources import nodes_of

SRC = Path(__file__).parents[2] / "src"


def modules() -> dict[str, Path]:
    """By name; a kernel by its stub."""
    found = {}
    for path in sorted(SRC.rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            parts = path.relative_to(SRC).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """All that stand in the file: those for type checkers, and those inside functions, too."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One, if there is any: each imports the one before it."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_there_is_no_import_circle() -> None:
    known = modules()
    graph = {name: {*imports(path, known)} & (known.keys() - {name}) for name, path in known.items()}
    assert len(graph) > 200
    assert circle(graph) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])
    assert circle({"a": {"b"}, "b": set()}) == []
