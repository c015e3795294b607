"""What the tests with other programs share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from interop.servers import Servers


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Nodes of ours, of one test; none may have hit a bug of ours."""
    with ExitStack() as stack:
        started = Servers(tmp_path, stack)
        yield started
        stack.close()
        started.check_logs()
