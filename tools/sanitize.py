"""Runs what parses strangers' bytes with sanitized kernels, and fails on any report: `make sanitize`.

    python -m tools.sanitize [--only kernels,prop,unit,smoke,fuzz]

The kernels in .make/sanitize have AddressSanitizer and UndefinedBehaviorSanitizer in them
(FASTMARKET_SANITIZE in setup.py). The interpreter has not, so the sanitizers' libraries are loaded before it.
Every process that a test starts inherits all this and writes what it finds into one directory: a report
counts even if the test passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = ROOT / ".make" / "sanitize"
LIBRARIES = ("libasan.so", "libubsan.so")
_ASAN_OPTIONS = (
    # CPython keeps what it made at import until the process ends; the kernels leak none of it.
    "detect_leaks=0",
    "allocator_may_return_null=1",  # what asks for too much gets a MemoryError, as without a sanitizer
    "handle_abort=1",
    # What was freed is kept back to see later uses of it; the default, 256, would take a node to its memory
    # limit, near which it refuses peers.
    "quarantine_size_mb=64",
)
# What is reported shows where it happened; more of a log than this says no more.
SHOWN_CHARS = 6000
PYTEST = ("-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "-p", "no:cacheprovider")
# The one catches the signals that the sanitizer reports; `src` would come before the sanitized copy.
OURS = ("-p", "no:faulthandler", "-o", f"pythonpath={BUILT} .")


@dataclass(frozen=True, slots=True)
class Part:
    """One command, by Python's arguments; `needs` is the directory without which it is left out."""

    arguments: tuple[str, ...]
    needs: str


PARTS: Mapping[str, tuple[Part, ...]] = {
    "kernels": (Part((*PYTEST, *OURS, "tests/kernels"), "tests/kernels"),),
    "prop": (Part((*PYTEST, *OURS, "tests/prop"), "tests/prop"),),
    # The test of this module plants faults and runs a compiler, which wants no sanitizer before it.
    "unit": (Part((*PYTEST, *OURS, "--ignore=tests/unit/test_sanitize.py", "tests/unit"), "tests/unit"),),
    # Real nodes, which register, find, sell and get.
    "smoke": (
        Part(("-m", "fastmarket.cli.demo"), "src/fastmarket/cli"),
        Part(
            ("-m", "pytest", "-q", *OURS, "tests/e2e/test_selling.py", "-k", "sold_file or no_longer_sold"),
            "tests/e2e",
        ),
    ),
    "fuzz": (Part(("-m", "tests.fuzz", "--inputs", "2000"), "tests/fuzz"),),
}


class NoSanitizerError(Exception):
    """The compiler here has no libraries of its sanitizers."""


def libraries() -> list[str]:
    """Paths of what is loaded before the interpreter. NoSanitizerError where the compiler has none."""
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        raise NoSanitizerError(f"there is no {compiler[0]}")
    found = []
    for name in LIBRARIES:
        asked = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True)
        path = Path(asked.stdout.strip())
        if not path.is_absolute():  # the bare name comes back of what is not there
            raise NoSanitizerError(f"{compiler[0]} has no {name}")
        found.append(str(path.resolve()))
    return found


def environment(built: Path, reports: Path) -> dict[str, str]:
    """Of processes that load the kernels below `built` and write reports into the directory `reports`."""
    # UndefinedBehaviorSanitizer's message may go to stderr alone, which a test may have taken away: its call
    # that names the file goes to the other library. So it aborts, and the other reports the abort.
    log = f"log_path={reports}/report"
    return {
        **os.environ,
        "ASAN_OPTIONS": ":".join((*_ASAN_OPTIONS, log)),
        "UBSAN_OPTIONS": f"print_stacktrace=1:abort_on_error=1:{log}",
        "LD_PRELOAD": ":".join(libraries()),
        "PYCRYPTODOME_DISABLE_DEEPBIND": "1",  # or it binds past what the sanitizers put before it
        "PYTHONMALLOC": "malloc",  # Python's own pools would hide what runs past the end of an object
        "PYTHONPATH": os.pathsep.join((str(built), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "",
    }


def run(arguments: Sequence[str], built: Path, directory: Path = ROOT) -> tuple[int, list[str]]:
    """Runs Python with `arguments`: its exit status, and the reports of it and the processes it started."""
    with tempfile.TemporaryDirectory(prefix="sanitize-") as name:
        reports = Path(name)
        done = subprocess.run([sys.executable, *arguments], cwd=directory, env=environment(built, reports))
        return done.returncode, [
            path.read_text(errors="replace")
            for path in sorted(reports.iterdir())
            if path.stat().st_size  # opened without anything to say
        ]


def check_loaded() -> None:
    """SystemExit when the processes would load other kernels than the sanitized ones."""
    code = (
        "import sys, fastmarket.native.sodium as kernel;"
        f"sys.exit(0 if kernel.__file__.startswith({str(BUILT)!r}) and"
        " '__asan_init' in open(kernel.__file__, 'rb').read().decode('latin-1') else kernel.__file__)"
    )
    status, reports = run(("-c", code), BUILT)
    if status or reports:
        raise SystemExit("sanitize: the sanitized kernels are not loaded\n" + "\n".join(reports))


def run_parts(names: Sequence[str]) -> bool:
    """Each of them, to the end; whether all passed without a report."""
    good = True
    for name in names:
        for part in PARTS[name]:
            if not (ROOT / part.needs).is_dir():
                print(f"sanitize: {name} is left out, there is no {part.needs}", flush=True)
                continue
            start = time.monotonic()
            status, reports = run(part.arguments, BUILT)
            for report in reports:
                print(report[:SHOWN_CHARS], flush=True)
            took = time.monotonic() - start
            print(f"sanitize: {name}: {len(reports)} reports, exit status {status}, {took:.0f} s", flush=True)
            good = good and status == 0 and not reports
    return good


def main() -> None:
    """Exit status 1 on a report or a failed test; 0 with the reason where there is no sanitizer."""
    parser = argparse.ArgumentParser(description="Runs tests with sanitized kernels.")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas: %(default)s")
    parser.add_argument("--probe", action="store_true", help="say whether this machine can, and end")
    parsed = parser.parse_args()
    names = [name for name in parsed.only.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only: there is no part {', '.join(unknown)}")
    try:
        libraries()
    except NoSanitizerError as error:
        print(f"sanitize: left out, {error}", flush=True)
        sys.exit(3 if parsed.probe else 0)
    if parsed.probe:
        return
    check_loaded()
    sys.exit(0 if run_parts(names) else 1)


if __name__ == "__main__":
    main()
