"""The tables for people, and the file for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lib.matrix import Available, Outcome, Verdict

STYLES = {Verdict.OK: "green", Verdict.FAIL: "bold red", Verdict.NONE: "yellow"}


def show(console: Console, title: str, rows: Mapping[str, str], outcomes: Sequence[Outcome]) -> None:
    """One table (`rows`: what was tried, by the name of the row) and the reasons below it."""
    cells = {(outcome.row, outcome.column): outcome for outcome in outcomes}
    columns = list(dict.fromkeys(outcome.column for outcome in outcomes))
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("tried")
    for column in columns:
        table.add_column(column, justify="center")
    notes: list[str] = []
    for name, what in rows.items():
        line = [escape(what)]
        for column in columns:
            outcome = cells.get((name, column))
            line.append("" if outcome is None else _cell(outcome, notes))
        if any(line[1:]):
            table.add_row(*line)
    console.print(table)
    for number, note in enumerate(notes, 1):
        console.print(f"  {number:>2}  {note}", highlight=False, soft_wrap=True)


def _cell(outcome: Outcome, notes: list[str]) -> str:
    style, text = STYLES[outcome.verdict], outcome.verdict.value
    if outcome.why:
        note = f"[{style}]{escape(outcome.row)}, {escape(outcome.column)}:[/] {escape(outcome.why)}"
        notes.append(note)
        text += f" {len(notes)}"
    return f"[{style}]{text}[/]"


def write(
    path: Path, peers: Sequence[Available], skipped: Mapping[str, str], outcomes: Sequence[Outcome]
) -> None:
    """All that is known, as JSON."""
    document = {
        "machine": platform.platform(),
        "peers": [
            {"kind": peer.kind, "implementation": peer.implementation, "version": peer.version}
            for peer in peers
        ],
        "skipped": dict(skipped),
        "cells": [asdict(outcome) | {"verdict": outcome.verdict.value} for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
