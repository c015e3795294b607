"""The ledger of inputs: how many each decoder has seen, by the source it had then.

`python -m tests.fuzz --record` adds a run to bench/results/fuzz.json and writes its table into
docs/how-to/fuzz.md. A decoder's counts hold as long as its source does: its module, and those of `formats`,
`libp2p` and `native` that this one imports. Comments do not matter.
"""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.fuzz.counts import OUT, Counts

ROOT: Final = Path(__file__).parents[2]
LEDGER: Final = Path("bench/results/fuzz.json")
DOC: Final = Path("docs/how-to/fuzz.md")
HEADING: Final = "## Inputs so far\n"
PLAIN, SANITIZED = "plain", "sanitized"
MARKS: Final = {
    True: {PLAIN: 10**8, SANITIZED: 10**7},
    False: {PLAIN: 10**7, SANITIZED: 10**6},
}
"""Inputs of a decoder before a release; by whether strangers reach it first."""
FOLLOWED: Final = ("formats", "libp2p", "native")  # packages in which decoders are made of others
_IMPORT: Final = re.compile(
    r"^\s*(?:from|cimport) (fastmarket\.[\w.]+) c?import|^\s*import (fastmarket\.[\w.]+)"
)
_HEADER: Final = re.compile(r'cdef extern from "(\w+\.h)"')


def build() -> str:
    """Which kernels this process has."""
    from fastmarket.native import sodium

    return SANITIZED if "sanitize" in Path(sodium.__file__).parts else PLAIN


def commit(root: Path = ROOT) -> str:
    """Of the tree; empty where there is no git."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


@cache
def source_of(entry: str, root: Path = ROOT) -> str:
    """Sixteen hex digits of the source that an entry has."""
    digest, seen = sha256(), set[Path]()
    waiting = list(_files(entry, root / "src"))
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        text = path.read_text()
        digest.update(f"{path.relative_to(root)}\n{_bare(text)}\n".encode())
        for line in text.splitlines():
            if match := _IMPORT.match(line):
                name = match.group(1) or match.group(2)
                if name.split(".")[1] in FOLLOWED:
                    waiting += _files(name, root / "src")
            elif match := _HEADER.search(line):
                header = root / "src/fastmarket/native/include" / match.group(1)
                waiting += [header] if header.exists() else []
    return digest.hexdigest()[:16]


def _bare(text: str) -> str:
    """Without blank lines and those that only comment."""
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def _files(name: str, src: Path) -> Iterator[Path]:
    """Of the longest module that a dotted name begins with."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        base = src.joinpath(*parts[:size])
        found = [path for end in (".py", ".pyx", ".pxd") if (path := base.with_suffix(end)).exists()]
        if (base / "__init__.py").exists():
            found.append(base / "__init__.py")
        if found:
            yield from found
            return


def read(path: Path = LEDGER) -> dict[str, Any]:
    """Empty where there is none yet."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def added(ledger: Mapping[str, Any], many: Iterable[Counts], kind: str, seed: int, at: str) -> dict[str, Any]:
    """The ledger with one more run. A run of a seed that is there for the same source counts once."""
    result = {name: dict(row) for name, row in ledger.items()}
    for counts in many:
        row = result.setdefault(counts.name, {})
        row.update(entry=counts.entry, first=counts.first)
        source = source_of(counts.entry)
        old = row.get(kind, {})
        if old.get("source") != source:
            old = {"inputs": 0, "checked": 0, "seconds": 0.0, "seeds": []}
        if seed in old["seeds"]:
            continue
        row[kind] = {
            "source": source,
            "commit": at,
            "inputs": old["inputs"] + counts.inputs,
            "checked": old["checked"] + counts.checked,
            "seconds": round(old["seconds"] + counts.seconds, 1),
            "seeds": sorted([*old["seeds"], seed]),
            "findings": len(counts.findings),
        }
    return dict(sorted(result.items()))


def record(many: Iterable[Counts], seed: int, root: Path = ROOT) -> None:
    """Adds a run, and writes the table."""
    with _locked(root):
        ledger = added(read(root / LEDGER), many, build(), seed, commit(root))
        (root / LEDGER).write_text(json.dumps(ledger, indent=1) + "\n")
        doc = root / DOC
        before, _, rest = doc.read_text().partition(HEADING)
        behind = rest[rest.index("\n## ") :] if "\n## " in rest else ""
        doc.write_text(before + HEADING + "\n" + table(ledger) + behind)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process at a time: plain and sanitized runs may go on beside each other."""
    (root / OUT).mkdir(parents=True, exist_ok=True)
    with (root / OUT / "ledger.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def table(ledger: Mapping[str, Any]) -> str:
    """Of all decoders, those that strangers reach first before the others; Markdown."""
    lines = [
        "| target | plain | a second | sanitized | a second | whole check | findings |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = sorted(ledger.items(), key=lambda item: (not item[1]["first"], item[0]))
    for name, row in rows:
        cells = []
        for kind in (PLAIN, SANITIZED):
            run = row.get(kind)
            cells += [f"{run['inputs']:,}", f"{_rate(run):,.0f}"] if run else ["0", ""]
        runs = [row[kind] for kind in (PLAIN, SANITIZED) if kind in row]
        checked, findings = (sum(run[what] for run in runs) for what in ("checked", "findings"))
        star = "\\*" if row["first"] else ""
        lines.append(f"| {name}{star} | {' | '.join(cells)} | {checked:,} | {findings} |")
    total = {
        kind: sum(row[kind]["inputs"] for row in ledger.values() if kind in row)
        for kind in (PLAIN, SANITIZED)
    }
    lines.append(f"| all | {total[PLAIN]:,} | | {total[SANITIZED]:,} | | | |")
    return "\n".join(lines) + "\n"


def _rate(run: Mapping[str, Any]) -> float:
    return float(run["inputs"] / run["seconds"]) if run["seconds"] else 0.0
