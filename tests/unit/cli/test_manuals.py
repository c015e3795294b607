"""The manual pages are what the commands' help says, and man can show them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from fastmarket.cli.settings import SETTINGS

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "man"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_manuals", ROOT / "tools" / "make_manuals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_help_says(tool: ModuleType) -> None:
    manuals: dict[str, str] = tool.manuals()
    assert set(manuals) == {path.name for path in PAGES.iterdir()}
    for name, page in manuals.items():
        assert (PAGES / name).read_text() == page, "run python tools/make_manuals.py"


def test_the_server_s_page_has_every_setting_and_the_exit_status() -> None:
    page = (PAGES / "fastmarket-server.1").read_text().replace("\\-", "-")
    for setting in SETTINGS:
        assert f"--{setting.name}" in page
        assert setting.variable in page
    for heading in ("EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "COMMANDS"):
        assert f".SH {heading}" in page


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
@pytest.mark.parametrize("name", ["fastmarket-server.1", "fastmarket-client.1"])
def test_man_has_no_complaint(name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(PAGES / name)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "SYNOPSIS" in done.stdout
