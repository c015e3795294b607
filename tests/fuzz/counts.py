"""What a run has counted, as JSON and as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OUT = Path(".make/fuzz")


@dataclass
class Finding:
    """An input that no entry may be harmed by, and how it was."""

    kind: str
    what: str
    hex: str
    """The input, shrunk."""
    seed: int
    number: int
    """Which input of that seed it was."""
    times: int = 1


@dataclass
class Counts:
    """Of one target."""

    name: str
    entry: str
    first: bool
    inputs: int = 0
    checked: int = 0
    """Those that the whole check saw; the others were fed to the entry alone."""
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """Inputs that came to a new outcome."""
    seconds: float = 0.0
    """Of CPU time, so that a busy machine does not matter."""
    slowest_ms: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Inputs a second of CPU time."""
        return self.inputs / self.seconds if self.seconds else 0.0

    def add(self, other: Counts) -> None:
        """Those of another run of the same target."""
        self.inputs += other.inputs
        self.checked += other.checked
        self.accepted += other.accepted
        self.refused.update(other.refused)
        self.kept += other.kept
        self.seconds += other.seconds
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        known = {(found.kind, found.what) for found in self.findings}
        self.findings += [found for found in other.findings if (found.kind, found.what) not in known]

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Counts:
        """As `to_json` wrote it."""
        findings = [Finding(**finding) for finding in fields["findings"]]
        return cls(**{**fields, "refused": Counter(fields["refused"]), "findings": findings})

    def to_json(self) -> dict[str, Any]:
        """For `json`."""
        return {**asdict(self), "refused": dict(self.refused)}


def save(many: Iterable[Counts], out: Path = OUT) -> None:
    """`counts.json`, and each finding as bytes in a file of its own."""
    out.mkdir(parents=True, exist_ok=True)
    listed = list(many)
    (out / "counts.json").write_text(json.dumps([counts.to_json() for counts in listed], indent=1) + "\n")
    for counts in listed:
        for number, finding in enumerate(counts.findings):
            (out / f"{counts.name}-{finding.kind}-{number}.bin").write_bytes(bytes.fromhex(finding.hex))


def table(many: Iterable[Counts]) -> str:
    """For people."""
    head = f"{'target':24} {'inputs':>13} {'checked':>11} {'a second':>9} {'accepted':>13}"
    lines = [f"{head} {'slowest':>9} {'findings':>8}  refused"]
    for counts in many:
        refused = ", ".join(f"{name} {count:,}" for name, count in counts.refused.most_common())
        fed = f"{counts.inputs:13,} {counts.checked:11,} {counts.rate:9,.0f} {counts.accepted:13,}"
        lines.append(
            f"{counts.name + ('*' if counts.first else ''):24} {fed}"
            f" {counts.slowest_ms:6.1f} ms {len(counts.findings):8}  {refused}"
        )
    return "\n".join(lines)
