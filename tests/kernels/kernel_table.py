"""The table of kernels in docs/architecture.md, which is the list of them, as the tests read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = "docs/architecture.md"
COLUMNS = "kernel | what it does | owner | twin | bench | gain"


@dataclass(frozen=True)
class Row:
    """A line of the table; paths as it has them."""

    kernel: str
    work: str
    owner: str
    twin: str
    bench: str
    gain: str

    @property
    def module(self) -> str:
        return "fastmarket." + self.kernel.removesuffix(".pyx").replace("/", ".")

    @property
    def name(self) -> str:
        return Path(self.kernel).stem


def read_table() -> list[Row]:
    lines = (ROOT / PAGE).read_text("utf-8").splitlines()
    first = lines.index(f"| {COLUMNS} |") + 2
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append(Row(*[cell.strip().strip("`") for cell in line.strip("|").split("|")]))
    return rows


ROWS = read_table()
