"""A catalogue whose file is damaged, or was written to by another program: its owner is told, or all but what
is damaged is served."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.database import FILE
from fastmarket.errors import NodeFault, StorageFault
from tests.conftest import Run
from tests.content.shop import shop

ODD_VALUES: tuple[object, ...] = (
    -1,
    2**62,
    1e300,
    float("inf"),
    "text",
    b"",
    b"blob",
    b"\x12\x20" + bytes(40),
)
CHECKED = {
    "orders": ("path", "profile", "each_file", "watched", "price", "user_id", "user_name", "finished"),
    "goods": ("id", "path", "ordered", "directory", "prefix", "digest", "size", "blocks", "state"),
    "files": ("id", "path", "profile", "stamp", "prefix", "digest", "tree_bytes", "blocks", "state"),
    "members": ("good", "file"),
    "imports": ("file", "path", "profile", "stamp"),
    "dropped": ("owner", "digest"),
}
SEEN_LATER = {"blocks": ("digest", "owner", "place"), "nodes": ("block",)}


async def _sell(directory: Path) -> bytes:
    """The file of a catalogue with one of everything."""
    with shop(directory) as made:
        (made.files / "alone").write_bytes(bytes(300_000))
        (made.files / "many").mkdir()
        (made.files / "many" / "a").write_bytes(b"a")
        await made.sold(made.files / "alone")
        await made.sell(made.files / "many")
        with made.catalogue.database.writing() as connection:
            connection.execute("INSERT INTO imports VALUES (77, x'2f78', 'unixfs-v0-2015', x'00')")
            connection.execute("INSERT INTO dropped VALUES (88, zeroblob(32))")
    return (directory / "data" / FILE).read_bytes()


def _set(path: Path, table: str, column: str, value: object) -> bool:
    """Of all rows; false: no file has it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous=OFF")
        try:
            return raw.execute(f"UPDATE {table} SET {column} = ?", (value,)).rowcount > 0
        except (sqlite3.IntegrityError, sqlite3.OperationalError):
            return False


def _use(catalogue: Catalogue, blocks: list[bytes]) -> int:
    """All that it is asked while it serves; how many blocks it has."""
    for good in catalogue.goods():
        if good.cid is not None:
            assert good in catalogue.goods_of(good.cid.multihash)
            catalogue.file_of(good.cid)
    catalogue.count()
    catalogue.orders()
    catalogue.tidy_scratch()
    found = [catalogue.read(multihash) for multihash in blocks]
    assert all(block is None or isinstance(block, bytes) for block in found)
    while catalogue.index.purge():
        pass
    return sum(block is not None for block in found)


def test_a_cell_that_no_program_of_ours_wrote_is_told_at_the_start_or_costs_its_block(
    run: Run[bytes], tmp_path: Path
) -> None:
    whole = run(_sell(tmp_path))
    path = tmp_path / "data" / FILE
    with closing(sqlite3.connect(path)) as raw:
        blocks = [b"\x12\x20" + row[0] for row in raw.execute("SELECT digest FROM blocks")]
    with shop(tmp_path) as made:
        assert _use(made.catalogue, blocks) == len(blocks)
    refused = 0
    for table, columns in (*CHECKED.items(), *SEEN_LATER.items()):
        for column, value in itertools.product(columns, ODD_VALUES):
            path.write_bytes(whole)
            if not _set(path, table, column, value):
                continue
            try:
                made_again = Catalogue(path.parent, ContentConfig())
            except NodeFault as fault:
                assert table in CHECKED, (column, value)
                refused += str(path) in str(fault) and not isinstance(fault, StorageFault)
                continue
            with closing(made_again):
                _use(made_again, blocks)
    assert refused > 100


def test_what_a_damaged_page_has_is_told_to_whoever_asks(run: Run[bytes], tmp_path: Path) -> None:
    whole = bytearray(run(_sell(tmp_path)))
    path = tmp_path / "data" / FILE
    with shop(tmp_path) as made:
        with made.catalogue.database.reading() as connection:
            (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'goods'").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        # Behind its back, while it serves.
        with path.open("r+b") as raw:
            raw.seek((page - 1) * size)
            raw.write(bytes(size))
        made.catalogue.database.reader.execute("PRAGMA shrink_memory")
        with pytest.raises(NodeFault, match=FILE):
            made.catalogue.goods()
        path.write_bytes(whole)


@pytest.mark.parametrize("version", [-3, -1, 0])
def test_a_file_of_no_version_is_left_alone(run: Run[bytes], tmp_path: Path, version: int) -> None:
    run(_sell(tmp_path))
    with closing(sqlite3.connect(tmp_path / "data" / FILE, isolation_level=None)) as raw:
        raw.execute(f"PRAGMA user_version={version}")
    with pytest.raises(NodeFault, match="is not a fastmarket catalogue"):
        Catalogue(tmp_path / "data", ContentConfig())
