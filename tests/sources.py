"""Our sources as tests of their text see them: each one read and parsed once a process."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path

# What is kept here is frozen: the collector, which tests run often, would go through all of it each time.


@cache
def tree_of(path: Path) -> ast.Module:
    """Of a file; not to be changed."""
    tree = ast.parse(path.read_text())
    gc.freeze()
    return tree


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """As `ast.walk` gives them."""
    nodes = tuple(ast.walk(tree_of(path)))
    gc.freeze()
    return nodes
