"""Callers are told that nothing could be stored, and not in which folder of this machine."""

from __future__ import annotations

import ast
import sqlite3
from pathlib import Path

import pytest

from fastmarket.errors import StorageFault
from fastmarket.storage.tabs import TabDatabase
from tests.sources import nodes_of

PACKAGE = Path(__file__).parents[3] / "src" / "fastmarket"
SOURCES = sorted([*(PACKAGE / "storage").glob("*.py"), *(PACKAGE / "content").rglob("*.py")])


def _told(call: ast.Call) -> list[str]:
    """Names of what the text of a fault is made of."""
    texts = [argument for argument in call.args if isinstance(argument, ast.JoinedStr)]
    values = [one.value for text in texts for one in text.values if isinstance(one, ast.FormattedValue)]
    attributes = [one.attr for one in values if isinstance(one, ast.Attribute)]
    return attributes + [one.id for one in values if isinstance(one, ast.Name)]


def test_faults_of_storage_name_files_without_their_folders() -> None:
    faults = 0
    for source in SOURCES:
        for node in nodes_of(source):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "StorageFault"
            ):
                faults += 1
                told = [name for name in _told(node) if name.strip("_") in ("path", "directory", "folder")]
                assert not told, f"{source.name}:{node.lineno}"
    assert faults > 5


def test_a_tab_that_cannot_be_read_is_told_without_its_folder(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    other = sqlite3.connect(database.path)
    other.execute("DROP TABLE sellers")
    with pytest.raises(StorageFault) as caught:
        database.spent(0)
    assert str(tmp_path) not in str(caught.value)
    assert "payments.db" in str(caught.value)
    other.close()
    database.close()
