"""What the tests of the content port share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fastmarket.content.port.gateway import Gateway
from tests.content.port.shop import Shop

TEXT = Random(7).randbytes(1_000_000)


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An empty one."""
    made = Shop()
    yield made
    made.close()


@pytest.fixture
def gateway(shop: Shop) -> Gateway:
    """Of that shop."""
    return Gateway(shop)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of four chunks."""
    path = tmp_path / "file.bin"
    path.write_bytes(TEXT)
    return path
