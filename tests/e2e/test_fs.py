"""Contents as files of fsspec, read through a node by the names under which they are sold."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastmarket.fs import MarketFileSystem
from tests.e2e.conftest import Run, Servers

fsspec = pytest.importorskip("fsspec")
SIZE = 5 * 1024 * 1024 + 333


@pytest.fixture
def sold(servers: Servers, run_client: Run, tmp_path: Path) -> Iterator[tuple[MarketFileSystem, str, bytes]]:
    """Files through a node that buys, the CID of a directory that another sells, and `data.bin` in it."""
    data = os.urandom(SIZE)
    (tmp_path / "goods").mkdir()
    (tmp_path / "goods" / "data.bin").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "goods" / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "hello " * 1000)
        archive.writestr("b.bin", os.urandom(300_000))
    seller = servers.start("--content-port", "0")
    buyer = servers.start(join=seller)
    cid = run_client("-p", seller.port, "sell", str(tmp_path / "goods"), "--price", "2").out.strip()
    files = MarketFileSystem(f"127.0.0.1:{buyer.port}", skip_instance_cache=True)
    yield files, cid, data
    files.close()


def test_ranges_of_a_file_are_read(sold: tuple[MarketFileSystem, str, bytes]) -> None:
    files, cid, data = sold
    path = f"market://{cid}/data.bin"
    assert files.info(path)["size"] == SIZE
    assert files.exists(path)
    assert not files.exists(f"market://{cid}/nothing")
    for start, end in (
        (0, 10),
        (262_140, 262_150),
        (SIZE - 5, SIZE),
        (SIZE - 5, SIZE + 9),
        (-7, None),
        (9, 9),
    ):
        assert files.cat_file(path, start, end) == data[start:end], (start, end)
    with files.open(path, "rb") as file:
        file.seek(4_000_000)
        assert file.read(1000) == data[4_000_000:4_001_000]
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]
    assert files.cat(path) == data
    with pytest.raises(FileNotFoundError):
        files.cat_file(f"market://{cid}/nothing")
    with pytest.raises(IsADirectoryError):
        files.info(f"market://{cid}")
    with pytest.raises(ValueError, match="read only"):
        files.open(path, "wb")


def test_programs_that_read_files_read_these(sold: tuple[MarketFileSystem, str, bytes]) -> None:
    files, cid, _ = sold
    with files.open(f"{cid}/all.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("a.txt") == b"hello " * 1000


def test_a_price_that_is_too_high_is_not_paid(sold: tuple[MarketFileSystem, str, bytes]) -> None:
    files, cid, _ = sold
    mean = MarketFileSystem(files._target, max_price=1, skip_instance_cache=True)
    with pytest.raises((PermissionError, FileNotFoundError)):
        mean.cat_file(f"{cid}/data.bin", 0, 10)
    mean.close()


def test_the_protocol_is_known_to_fsspec() -> None:
    found: Any = fsspec.get_filesystem_class("market")
    assert found is MarketFileSystem
