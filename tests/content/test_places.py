"""Where a block is, remembered between two questions, and never longer than until the next write."""

from __future__ import annotations

from pathlib import Path

from fastmarket.config import ContentConfig
from fastmarket.content.catalogue import Catalogue


def test_what_is_written_is_found_at_once(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path, ContentConfig())
    digest = bytes(32)
    try:
        for owner in range(1, 4):
            before = catalogue.places(digest)
            assert catalogue.places(digest) is before, "asked twice in a row, it is not read again"
            with catalogue.database.writing() as connection:
                catalogue.index.put_rows(connection, [(digest, owner, 0)])
            assert catalogue.places(digest) == [*before, (owner, 0)]
        assert catalogue.places(bytes(31) + b"1") == []
    finally:
        catalogue.close()
