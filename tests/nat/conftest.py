"""A lab for each test, and a home network in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nat import lab as nat
from tests.nat.lab import Lab


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lab]:
    with nat.lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def wired(made: Lab) -> Lab:
    """A seller, a router that forwards nothing yet, and strangers outside."""
    nat.home(made)
    return made


@pytest.fixture
def at_home(wired: Lab) -> Lab:
    """The router lets in what answers."""
    nat.port_restricted(wired)
    return wired
