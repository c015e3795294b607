"""The table of kernels in docs/architecture.md says what is built, tested, measured and shipped.

Wheels are tested with that page beside the tests, and without the sources: then the kernels are imported, and
what reads the sources is skipped.
"""

from __future__ import annotations

import importlib
import re
import tomllib

import pytest

from tests.kernels.kernel_table import PAGE, ROOT, ROWS, Row

SOURCES = ROOT / "src" / "fastmarket"
in_the_repository = pytest.mark.skipif(not SOURCES.exists(), reason="a wheel is tested, without sources")
each_kernel = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each_kernel
def test_it_is_built(row: Row) -> None:
    """Whatever is installed has it, as C."""
    kernel = importlib.import_module(row.module)
    assert not str(kernel.__file__).endswith((".py", ".pyx"))


@in_the_repository
def test_every_kernel_has_a_row() -> None:
    there = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.pyx"))
    assert sorted(row.kernel for row in ROWS) == there


@in_the_repository
@each_kernel
def test_what_its_row_names_is_there(row: Row) -> None:
    owner = (SOURCES / row.owner).read_text("utf-8")
    package, _, name = row.module.rpartition(".")
    used = rf"{re.escape(row.module)}\b|from {re.escape(package)} import .*\b{name}\b"
    assert re.search(used, owner), f"{row.owner} does not use it"
    assert (ROOT / row.twin).is_file()
    bench = (ROOT / row.bench).read_text("utf-8")
    assert row.bench == f"bench/kernels/bench_{name.removeprefix('_')}.py"
    assert f"{row.module} beside" in bench
    assert (ROOT / "tests" / "kernels" / f"test_{name.removeprefix('_')}.py").is_file()
    assert (SOURCES / row.kernel).with_suffix(".pyi").is_file()
    assert row.work
    assert re.fullmatch(r"[\d,.]+( - [\d,.]+)? x", row.gain)


@in_the_repository
def test_wheels_are_tested_by_this_table() -> None:
    wheels = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["cibuildwheel"]
    assert {"tests", PAGE} <= set(wheels["test-sources"])
    assert any("pytest" in command and "tests/kernels" in command for command in wheels["test-command"])
    named = {
        word for command in wheels["test-command"] for word in re.findall(r"fastmarket\.[\w.]+", command)
    }
    assert not named, "kernels are imported by this test, from the table"
