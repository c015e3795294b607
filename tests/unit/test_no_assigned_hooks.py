"""No object is handed what it calls after it was made: everything stands in its constructor.

A callable that is assigned from outside is harmless-looking when it is forgotten. So of all classes of the
node and the simulator: no attribute begins as a function to be replaced later, no code assigns a function to
another object's attribute, and a public attribute of a callable type is a parameter of `__init__`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import nodes_of

PACKAGE = Path(__file__).parents[2] / "src" / "fastmarket"
PACKAGES = ("core", "kad", "offers", "sim")
SOURCES = [path for name in PACKAGES for path in sorted((PACKAGE / name).rglob("*.py"))]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def methods_by_name() -> frozenset[str]:
    """Names of methods in these packages, of nothing else: `x.name` without a call is a bound method."""
    methods, others = set(), set()
    for source in SOURCES:
        for node in nodes_of(source):
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, Function):
                        (others if item.decorator_list else methods).add(item.name)
                    elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        others.add(item.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                others.add(node.attr)
    return frozenset(methods - others)


METHODS = methods_by_name()


def own_name(function: Function) -> str | None:
    """What a method calls its object."""
    return function.args.args[0].arg if function.args.args else None


def parameters(function: Function) -> set[str]:
    """Of a function."""
    arguments = function.args
    return {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def is_function(value: ast.expr | None, functions: set[str]) -> bool:
    """A lambda, a function by its name, or a method without a call."""
    if isinstance(value, ast.Lambda):
        return True
    if isinstance(value, ast.Name):
        return value.id in functions
    return isinstance(value, ast.Attribute) and value.attr in METHODS


def assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None, ast.expr | None, int]]:
    """Each target with its value, annotation and line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for one, value in pairs:
                    yield one, value, None, node.lineno
        elif isinstance(node, ast.AnnAssign):
            yield node.target, node.value, node.annotation, node.lineno


def is_callable_type(annotation: ast.expr | None, aliases: set[str]) -> bool:
    """`Callable[...]`, perhaps or None, or an alias of one."""
    if annotation is None:
        return False
    if isinstance(annotation, ast.BinOp):
        return is_callable_type(annotation.left, aliases) or is_callable_type(annotation.right, aliases)
    named = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return isinstance(named, ast.Name) and named.id in aliases


def callable_aliases(tree: ast.Module) -> set[str]:
    """Names of callable types in a module."""
    found = {"Callable"}
    for target, value, _, _ in assignments(tree):
        if isinstance(target, ast.Name) and is_callable_type(value, found):
            found.add(target.id)
    return found


def faults_of_method(function: Function, functions: set[str], aliases: set[str]) -> Iterator[tuple[int, str]]:
    """What it assigns that it should not."""
    mine, known = own_name(function), parameters(function)
    local = {node.name for node in ast.walk(function) if isinstance(node, Function)} | functions
    for target, value, annotation, line in assignments(function):
        if not isinstance(target, ast.Attribute):
            continue
        of_self = isinstance(target.value, ast.Name) and target.value.id == mine
        if not of_self:
            if is_function(value, local - known):
                yield line, f"assigns a function to {ast.unparse(target)}"
        elif isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in local - known):
            yield line, f"{ast.unparse(target)} begins as a function"
        elif (
            is_callable_type(annotation, aliases)
            and not target.attr.startswith("_")
            and not (isinstance(value, ast.Name) and value.id in known)
        ):
            yield line, f"{ast.unparse(target)} is a callable that the constructor does not take"


def setters(node: ast.ClassDef, aliases: set[str]) -> Iterator[tuple[int, str]]:
    """Properties by which a callable can be replaced, and fields that begin as a function."""
    for item in node.body:
        if isinstance(item, Function) and any(
            isinstance(one, ast.Attribute) and one.attr == "setter" for one in item.decorator_list
        ):
            if is_callable_type(item.args.args[1].annotation, aliases):
                yield item.lineno, f"{node.name}.{item.name} can be replaced"
        elif isinstance(item, ast.AnnAssign) and isinstance(item.value, ast.Lambda):
            yield item.lineno, f"{node.name}.{ast.unparse(item.target)} begins as a function"


def faults(text: str) -> list[str]:
    """Of a module, with their lines."""
    tree = ast.parse(text)
    functions = {item.name for item in tree.body if isinstance(item, Function)}
    aliases = callable_aliases(tree)
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.update(setters(node, aliases))
            for item in node.body:
                if isinstance(item, Function):
                    found.update(faults_of_method(item, functions, aliases))
    for item in tree.body:
        if isinstance(item, Function):
            found.update(faults_of_method(item, functions, aliases))
    return [f"line {line}: {what}" for line, what in sorted(found)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_callable_is_assigned_after_construction(source: Path) -> None:
    assert faults(source.read_text()) == []


@pytest.mark.parametrize(
    "body",
    [
        "self.told = lambda item: None",
        "self.told = nothing",
        "self.told: Callable[[], None] | None = None",
        "self.told: Done = some.thing",
        "other.told = lambda: None",
        "other.told, self.x = nothing, 1",
        "other.told = self.poll_requests",
        "def inner(): ...\n        other.inner.told = inner",
    ],
)
def test_what_is_wrong_is_found(body: str) -> None:
    module = f"""
Done = Callable[[object], None]
def nothing(): ...
class Hooked:
    def __init__(self, other):
        {body}
"""
    assert len(faults(module)) == 1


@pytest.mark.parametrize(
    "body",
    [
        "self.told: Done = done",
        "self.told = done",
        "self._count = 0",
        "other.number = self.port",
        "x = nothing",
    ],
)
def test_what_the_constructor_takes_is_right(body: str) -> None:
    module = f"""
Done = Callable[[object], None]
def nothing(): ...
class Plain:
    def __init__(self, other, done):
        {body}
"""
    assert faults(module) == []
