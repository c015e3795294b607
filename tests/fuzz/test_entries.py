"""The list of entries and the table of targets agree, with the sources and with what is really reached."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import pytest

from tests.fuzz.entries import REACHED, REASONS, SRC, readers
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SEEDS = 40  # of a target
BY_NAME = {target.name: target for target in TARGETS}
QUICK_S = 0.05  # entries that may take longer are keys, and whole files
STATELESS = [name for name in REACHED if BY_NAME[name].after is None and BY_NAME[name].max_cpu_s <= QUICK_S]


def test_each_function_that_reads_foreign_bytes_has_a_target_or_a_reason() -> None:
    listed = {name for names in REACHED.values() for name in names}
    assert not listed & set(REASONS)
    assert listed | set(REASONS) == set(readers()), (
        "list it in tests/fuzz/entries.py, with a target that reaches it"
    )
    assert set(REACHED) <= set(BY_NAME)


@pytest.mark.parametrize("name", STATELESS)
def test_a_target_reaches_what_is_listed(name: str) -> None:
    """By its seeds alone; whole nodes and ports are left out, which take long."""
    missing = set(REACHED[name]) - _called(BY_NAME[name])
    assert not missing


def _called(target: Target) -> set[str]:
    found: set[object] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    seeds = target.seeds()
    before: Callable[..., object] | None = sys.getprofile()
    sys.setprofile(note)
    try:
        for data in seeds[:: 1 + len(seeds) // SEEDS]:
            with suppress(*target.faults):
                target.check(data)
    finally:
        sys.setprofile(before)  # type: ignore[arg-type]
    codes = [code for code in found if str(SRC) in code.co_filename]  # type: ignore[attr-defined]
    return {f"{_module(code.co_filename)}.{code.co_qualname}" for code in codes}  # type: ignore[attr-defined]


def _module(file: str) -> str:
    return file[len(str(SRC)) + 1 : -len(".py")].replace("/", ".")
