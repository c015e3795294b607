"""docs/parameters.md tells the defaults as they are, and why they are so."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fastmarket import config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "make_parameters.py"
LAYERS = (
    "access",
    "connection",
    "content",
    "fetching",
    "fleet",
    "holders",
    "host",
    "kad",
    "market",
    "offers",
    "payments",
    "storage",
    "web",
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_parameters", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_classes_say(tool: ModuleType) -> None:
    page = (ROOT / "docs" / "parameters.md").read_text()
    assert page == tool.page(), "run python tools/make_parameters.py"


@pytest.mark.parametrize("layer", LAYERS)
def test_every_parameter_has_a_reason(tool: ModuleType, layer: str) -> None:
    config_class = type(getattr(config.NodeConfig(), layer))
    source = (ROOT / "src" / "fastmarket" / "config" / f"{layer}.py").read_text()
    found = list(tool.parameters(config_class, source))
    assert len(found) >= 5
    assert [parameter.name for parameter in found if not parameter.reason] == []


def test_a_default_is_told_with_the_comments_around_it(tool: ModuleType) -> None:
    found = {p.name: p for p in tool.parameters(config.KadConfig, (tool.SOURCES / "kad.py").read_text())}
    assert found["k"].default == f"{config.KadConfig().k}"
    assert found["max_asked"].default == f"{config.KadConfig().max_asked:,}"
