"""A fleet's server is composed: it has the shape of a `Dht` by methods of its own, and is given no hooks."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import fastmarket.fleet
from fastmarket.fleet.dht import FleetDht
from fastmarket.fleet.routing import FleetRouting
from fastmarket.market.dht import Dht
from fastmarket.net.public_routing import PublicRouting
from fastmarket.web.routing_api import RoutingSource
from tests.sources import nodes_of

PACKAGE = Path(inspect.getfile(fastmarket.fleet)).parent


def public(shape: type) -> set[str]:
    """Names of a protocol and of those it extends."""
    classes = (one for one in shape.__mro__ if one.__module__.startswith("fastmarket"))
    return {name for one in classes for name in vars(one) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("made", "shape", "inner"), [(FleetDht, Dht, None), (FleetRouting, RoutingSource, PublicRouting)]
)
def test_it_is_a_shape_and_no_subclass(made: type, shape: type, inner: type | None) -> None:
    assert made.__mro__ == (made, object)
    assert public(shape) <= vars(made).keys()
    assert "__getattr__" not in vars(made)
    for name in public(shape):
        theirs, ours = inspect.getattr_static(shape, name), inspect.getattr_static(made, name)
        if inspect.isfunction(theirs):
            names = list(inspect.signature(theirs).parameters)
            assert list(inspect.signature(ours).parameters) == names, name
            assert inner is None or hasattr(inner, name)


@pytest.mark.parametrize("module", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_no_object_is_changed_from_outside(module: Path) -> None:
    for node in nodes_of(module):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Attribute):
                assert isinstance(target.value, ast.Name), ast.unparse(node)
                assert target.value.id == "self", ast.unparse(node)
