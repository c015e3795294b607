"""Finds a settlement by its name: ours, and those of other packages by their entry point."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from fastmarket.errors import CallerFault
from fastmarket.settlement.interface import GROUP, SettlementContext, SettlementPlugin

FIELD = "settlement"
OURS = {"none": "fastmarket.settlement.none", "x402": "fastmarket.settlement.x402.plugin"}
"""Modules with an `open_settlement`. They need no entry point: they are found where nothing is installed."""


def split_choice(text: str) -> tuple[str, Path | None]:
    """NAME or NAME=FILE. Raises CallerFault."""
    name, equals, file = text.partition("=")
    if not name or (equals and not file):
        raise CallerFault(FIELD, f"expects NAME or NAME=FILE, not {text!r}")
    return name, Path(file) if file else None


def open_by_name(name: str, context: SettlementContext) -> SettlementPlugin:
    """Raises CallerFault: there is none of that name, it lacks a package, or its settings are wrong."""
    others = {point.name: point for point in entry_points(group=GROUP)}
    if name not in OURS and name not in others:
        known = ", ".join(sorted({*OURS, *others}))
        raise CallerFault(FIELD, f"there is no settlement {name!r}; there are: {known}")
    try:
        made = importlib.import_module(OURS[name]).open_settlement if name in OURS else _load(others[name])
        return cast(SettlementPlugin, made(context))
    except ModuleNotFoundError as missing:
        hint = f": pip install 'fastmarket[{name}]'" if name in OURS else ""
        raise CallerFault(FIELD, f"{name} needs {missing.name}{hint}") from None


def _load(point: EntryPoint) -> Callable[[SettlementContext], object]:
    try:
        return cast(Callable[[SettlementContext], object], point.load())
    except AttributeError as error:
        raise CallerFault(FIELD, f"{point.name} of {point.value} cannot be used: {error}") from None
