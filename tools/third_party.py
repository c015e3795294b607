"""Writes THIRD_PARTY.md: the packages that come with fastmarket, and their licences.

    python -m tools.third_party [--check] PIP_LICENSES

The names are those of requirements/run.txt; what is told of them is what they say of themselves where they
are installed. `--check` writes nothing, and fails if the page says something else.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
LOCK = ROOT / "requirements" / "run.txt"
HEAD = """# Licences of others

What `pip install 'fastmarket[http,metrics,fleet,tracing,watch,fs,mdns]'` brings along, each package under its
own licence. Without the extras it is less. Made by `make lock`; `make audit` compares it.

| package | licence | where |
| --- | --- | --- |
"""
# Not installed where this runs, since nothing but a chain needs it; what its METADATA says.
TAIL = """
`pip install 'fastmarket[x402]'` brings in addition:

| package | licence | where |
| --- | --- | --- |
| coincurve | MIT OR Apache-2.0 | <https://github.com/ofek/coincurve> |
"""
# Their metadata is silent; this is what the LICENSE in each package says.
READ_BY_US = {
    "bases": "MIT License",
    "multiformats": "MIT License",
    "multiformats-config": "MIT License",
    "typing-validation": "MIT License",
}


def locked() -> list[str]:
    """The names in the lock of what runs, in order, as package indexes write them."""
    return sorted(set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", LOCK.read_text(), re.MULTILINE)))


def is_here(name: str) -> bool:
    """Whether the package is installed; some are for other systems or other Pythons alone."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def page(pip_licenses: str) -> str:
    """All of it."""
    names = [name for name in locked() if is_here(name)]
    command = [
        pip_licenses,
        "--python",
        sys.executable,
        "--format",
        "json",
        "--with-urls",
        "--with-system",
        "--packages",
        *names,
    ]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = {re.sub(r"[-_.]+", "-", row["Name"]).lower(): row for row in told}
    if missing := [name for name in names if name not in rows]:
        raise SystemExit(f"third_party: nothing is told of {', '.join(missing)}")
    for name, licence in READ_BY_US.items():
        if name in rows and rows[name]["License"] == "UNKNOWN":
            rows[name]["License"] = licence
    if unknown := [name for name in names if rows[name]["License"] == "UNKNOWN"]:
        raise SystemExit(f"third_party: no licence is told of {', '.join(unknown)}")
    told = (f"| {name} | {_licence(rows[name])} | <{_url(rows[name])}> |\n" for name in names)
    return HEAD + "".join(told) + TAIL


def _licence(row: dict[str, str]) -> str:
    return " ".join(row["License"].split()).replace("|", "/")


def _url(row: dict[str, str]) -> str:
    return row["URL"] if row["URL"] != "UNKNOWN" else f"https://pypi.org/project/{row['Name']}/"


def main() -> None:
    """Exit status 1 if the page is to be checked and says something else."""
    parser = argparse.ArgumentParser(description="Writes THIRD_PARTY.md.")
    parser.add_argument("pip_licenses")
    parser.add_argument("--check", action="store_true")
    parsed = parser.parse_args()
    made = page(parsed.pip_licenses)
    if not parsed.check:
        PAGE.write_text(made)
    elif PAGE.read_text() != made:
        raise SystemExit("third_party: THIRD_PARTY.md is not what is installed: make lock")


if __name__ == "__main__":
    main()
