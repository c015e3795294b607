"""Builds the Cython extensions; everything else about the package stands in pyproject.toml.

Environment switches (unset or 0 is off):
    FASTMARKET_DEBUG=1      -O0 -g, and Cython's bounds and None checks
    FASTMARKET_LINETRACE=1  line tracing, for coverage and profilers
    FASTMARKET_ANNOTATE=1   build/cython*/**/*.html: where each .pyx touches Python
    FASTMARKET_NATIVE=1     -march=native: for this machine alone, never for a wheel
    FASTMARKET_SANITIZE=1   address and undefined-behaviour sanitizers in the kernels: `make sanitize`
    FASTMARKET_COMPILED=1   the engine's own Python, too, by the mypyc of mypy 2: `make compiled`
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(f"FASTMARKET_{name}", "0") not in ("", "0")


debug, line_trace, annotate = switch("DEBUG"), switch("LINETRACE"), switch("ANNOTATE")
# C code made with one set of switches is not current for another.
switches = {"debug": debug, "trace": line_trace, "html": annotate}
flavour = "".join(f"-{name}" for name, on in switches.items() if on)
compile_args = ["-O0", "-g"] if debug else ["-O3", "-g0"]
if switch("NATIVE"):
    compile_args.append("-march=native")
link_args = []
if switch("SANITIZE"):
    link_args = ["-fsanitize=address,undefined"]
    # Python's own flags have -fwrapv, which defines overflow of a signed integer, so that it goes unreported.
    # The last of the flags of one kind counts, and setuptools puts Python's first.
    compile_args = [
        "-O1",
        "-g",
        "-fno-wrapv",
        "-fno-omit-frame-pointer",
        "-fno-sanitize-recover=undefined",
        *link_args,
    ]

SOURCES = Path("src/fastmarket")
HEADERS = SOURCES / "native" / "include"
extensions = [
    Extension(
        ".".join(source.with_suffix("").parts[1:]),
        [str(source)],
        depends=[str(header) for header in sorted(HEADERS.glob("*.h"))],
        include_dirs=[str(HEADERS)],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if line_trace else [],
    )
    for source in sorted(SOURCES.rglob("*.pyx"))
]

# What a request touches on its way through engine and simulator, as native classes of the same sources.
# Left out is what runs once, and what mypyc does not take: a class that names its own __slots__, or stands on
# one of ours in C, or is a NamedTuple with fields of the types of `builtins` (mypyc 2.4).
PACKAGES = ("config", "core", "formats", "kad", "offers", "sim")
INTERPRETED = {
    *(
        "__init__",
        "__main__",
        "report",
        "addr_protocols",
        "cid",
        "contact",
        "core/events",
        "dag_cbor",
        "metadata",
        "offer",
        "unixfs",  # a folder
        "block",
        "car",
        "dag_pb",
        "fetched_file",
        "fetching",
        "fetching_scenario",
        "fetching_static",
        "stale_providers",
    )
}


def compiled() -> list[Extension]:
    from mypyc.build import mypycify

    sources = [path for name in PACKAGES for path in sorted((SOURCES / name).rglob("*.py"))]
    sources.append(SOURCES / "bounded_map.py")
    names = {str(path): path.relative_to(SOURCES).with_suffix("") for path in sources}
    chosen = [
        path for path, name in names.items() if INTERPRETED.isdisjoint({name.as_posix(), *name.parts[-2:]})
    ]
    options = ["--config-file", "pyproject.toml"]
    return mypycify([*options, *chosen], group_name="fastmarket", target_dir="build/mypyc", multi_file=True)


setup(
    ext_modules=(compiled() if switch("COMPILED") else [])
    + cythonize(
        extensions,
        annotate=annotate,
        build_dir=f"build/cython{flavour}",
        language_level=3,
        compiler_directives={
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "nonecheck": debug,
            "cdivision": True,
            "embedsignature": True,
            "linetrace": line_trace,
            # On a free-threaded CPython importing a kernel leaves the GIL off. What is module-level in C is
            # written by the import alone; objects that change belong to one thread (docs/performance.md).
            "freethreading_compatible": True,
        },
    )
)
