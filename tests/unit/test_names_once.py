"""A public class name means one thing in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

import fastmarket
from tests.sources import tree_of

ROOT = Path(fastmarket.__file__).parent


def public_classes() -> dict[str, list[str]]:
    """The modules that define each public class, by its name; generated code is not ours to name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT)
        if module.parts[0] == "pb":
            continue
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module.as_posix())
    return found


def test_each_name_is_defined_in_one_module() -> None:
    found = public_classes()
    assert len(found) > 300  # the walk finds the package
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}
