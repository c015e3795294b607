"""The ledger: counts add up as long as a decoder's source stays, and the guide shows what it has."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fuzz import ledger
from tests.fuzz.counts import Counts

ENTRY = "fastmarket.native.kad_fields.message_fields"


def counts(inputs: int) -> Counts:
    return Counts("kad-fields", ENTRY, True, inputs=inputs, checked=2, accepted=inputs, seconds=2.0)


def test_runs_of_one_source_add_up_and_a_seed_counts_once() -> None:
    once = ledger.added({}, [counts(10)], "plain", 1, "abc")
    assert ledger.added(once, [counts(10)], "plain", 1, "abc") == once
    twice = ledger.added(once, [counts(5)], "plain", 2, "def")["kad-fields"]
    assert (twice["plain"]["inputs"], twice["plain"]["commit"], twice["plain"]["checked"]) == (15, "def", 4)
    beside = ledger.added(once, [counts(7)], "sanitized", 1, "abc")["kad-fields"]
    assert (beside["plain"]["inputs"], beside["sanitized"]["inputs"]) == (10, 7)


def test_counts_of_another_source_do_not_hold() -> None:
    once = ledger.added({}, [counts(10)], "plain", 1, "abc")
    once["kad-fields"]["plain"]["source"] = "another"
    assert ledger.added(once, [counts(3)], "plain", 2, "abc")["kad-fields"]["plain"]["inputs"] == 3


def test_a_source_is_the_module_and_what_it_is_made_of(tmp_path: Path) -> None:
    """A change of a header in C, two imports below, is a change; a comment is none."""
    shutil.copytree(ledger.ROOT / "src/fastmarket", tmp_path / "src/fastmarket", ignore=_only_sources)
    ledger.source_of.cache_clear()

    def source() -> str:
        ledger.source_of.cache_clear()
        return ledger.source_of("fastmarket.formats.cid.Cid.from_text", tmp_path)

    first = source()
    module = tmp_path / "src/fastmarket/formats/cid.py"
    module.write_text("# a remark\n\n" + module.read_text())
    assert source() == first
    header = tmp_path / "src/fastmarket/native/include/multiformat.h"
    header.write_text(header.read_text() + "int more;\n")
    assert source() != first


def _only_sources(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if "." in name and not name.endswith((".py", ".pyx", ".pxd", ".h"))]


def test_the_guide_shows_what_the_ledger_has() -> None:
    found = ledger.read(ledger.ROOT / ledger.LEDGER)
    guide = (ledger.ROOT / ledger.DOC).read_text()
    assert ledger.table(found) in guide, "run `python -m tests.fuzz --record`"
