"""`make sanitize` would tell: faults planted in a kernel that setup.py builds with its flags are reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import sanitize

# Of no use but to be wrong: one byte past its own eight, and one more than the largest int.
PLANTED = """
from libc.stdlib cimport malloc, free

def read(Py_ssize_t at):
    cdef unsigned char* held = <unsigned char*>malloc(8)
    held[0] = 1
    cdef int got = held[at] if at else held[0]
    free(held)
    return got

def add(int left, int right):
    return left + right

def put(bytearray held not None, Py_ssize_t at):
    cdef unsigned char* start = held
    start[at] = 1

def past(bytes text not None, Py_ssize_t at):
    return (<const unsigned char*>text)[at]
"""
BUILD_DEADLINE_S = 300.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        sanitize.libraries()
    except sanitize.NoSanitizerError as error:
        pytest.skip(str(error))
    project = tmp_path_factory.mktemp("planted")
    shutil.copy(sanitize.ROOT / "setup.py", project)
    (project / "src" / "fastmarket").mkdir(parents=True)
    (project / "src" / "fastmarket" / "planted.pyx").write_text(PLANTED)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "built"]
    environment = {**os.environ, "FASTMARKET_SANITIZE": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True, timeout=BUILD_DEADLINE_S)
    return project / "built"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("read(8)", "__ubsan_handle_type_mismatch"),  # the compiler sees that there are eight
        ("past(bytes(100), 180)", "AddressSanitizer: heap-buffer-overflow"),
        ("put(bytearray(100), 160)", "AddressSanitizer: heap-buffer-overflow"),
        ("add(2**31 - 1, 1)", "__ubsan_handle_add_overflow"),
    ],
)
def test_a_planted_fault_is_reported_and_fails_the_run(built: Path, call: str, said: str) -> None:
    # Loaded by itself: fastmarket would be the package without the planted kernel.
    code = (
        "import importlib.util as util, pathlib;"
        "(path,) = pathlib.Path.cwd().glob('fastmarket/planted.*');"
        "spec = util.spec_from_file_location('planted', path);"
        "planted = util.module_from_spec(spec); spec.loader.exec_module(planted);"
        "assert planted.read(0) == 1 and planted.add(1, 1) == 2;"
    )
    assert sanitize.run(("-c", code), built, built) == (0, [])
    status, reports = sanitize.run(("-c", f"{code} planted.{call}"), built, built)
    assert status != 0
    assert said in reports[0]
    # A process that a test started counts as well, though the test did not look at how it ended.
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {f'{code} planted.{call}'!r}])"
    status, reports = sanitize.run(("-c", nested), built, built)
    assert status == 0
    assert said in reports[0]


def test_where_there_is_no_sanitizer_nothing_runs_and_the_reason_is_told(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho libasan.so\n")
    compiler.chmod(0o755)
    environment = {**os.environ, "CC": str(compiler)}
    for arguments, status in (((), 0), (("--probe",), 3)):
        command = [sys.executable, "-m", "tools.sanitize", *arguments]
        done = subprocess.run(command, cwd=sanitize.ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == status
        assert "left out" in done.stdout
        assert "has no libasan.so" in done.stdout


def test_every_part_has_a_command_that_exists() -> None:
    assert set(sanitize.PARTS) == {"kernels", "prop", "unit", "smoke", "fuzz"}
    for parts in sanitize.PARTS.values():
        for part in parts:
            if part.needs != "tests/fuzz":
                assert (sanitize.ROOT / part.needs).is_dir()
