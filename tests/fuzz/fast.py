"""Compiles `_fast.pyx` when it is first wanted, into `.make/`; without a compiler all runs in Python."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final

SOURCE: Final = Path(__file__).with_name("_fast.pyx")
BUILT: Final = Path(".make/fuzz/built")
_PROGRAM: Final = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
source, where = sys.argv.pop(1), sys.argv.pop(1)
extension = Extension("_fast", [source], extra_compile_args=["-O3", "-g0"])
setup(ext_modules=cythonize([extension], build_dir=where, quiet=True), script_args=[
    "-q", "build_ext", "--build-lib", where, "--build-temp", where])
"""


def load() -> ModuleType | None:
    """The compiled module; None if it cannot be compiled here."""
    version = sha256(SOURCE.read_bytes() + sys.version.encode()).hexdigest()[:16]
    built = BUILT / version / f"_fast{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not built.exists() and not _compile(built):
        return None
    loader = importlib.machinery.ExtensionFileLoader("_fast", str(built))
    spec = importlib.util.spec_from_file_location("_fast", built, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _compile(built: Path) -> bool:
    """Elsewhere, and then put in place at once: others may be compiling as well."""
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as where:
        command = [sys.executable, "-c", _PROGRAM, str(SOURCE.resolve()), str(Path(where).resolve())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        made = list(Path(where).rglob("_fast*.so"))
        if done.returncode or not made:
            print(
                f"without {SOURCE.name}, which does not compile here: {done.stderr[-300:]}", file=sys.stderr
            )
            return False
        os.replace(made[0], built)
    return True
